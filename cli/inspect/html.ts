/** What was found in a model, as one page. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { analyse } from '../../src/walker/find';
import { bytes, count, NONE, whole } from '../report/format';
import { breakable, type Markup, markup, type Part } from '../report/markup';
import { page } from '../report/page';
import { callsOf, type InputSize } from './calls';
import { costsOf, type ModelCosts } from './costs';
import type { InspectData } from './data';
import { facts, headlineOf, remarks, SAVINGS_HEAD, savingsRows, shapeText, short } from './facts';
import { type Graph, graphOf } from './graph';
import { drawGraph } from './picture';
import { STATES, STRIPED, type States } from './states';
import { INSPECT_STYLE } from './style';

/** Beyond it nobody can read the picture, and laying it out takes minutes. */
export const MOST_BOXES = 3000;

export interface PageOptions {
  /** The model's name, for the title. Default: the layers model's own. */
  name?: string;
  /** States that take precedence, by path; see `restoreStates`. */
  states?: States;
  /** As it was given to `inspectData`. */
  imageSize?: InputSize | null;
}

/** One html file that needs nothing besides itself: no network, no script, no font. */
export function inspectHtml(data: InspectData, model: LayersModel, options: PageOptions = {}): string {
  const { name = model.name, states, imageSize } = options;
  const calls = callsOf(model, imageSize ?? undefined);
  const graph = graphOf(calls, analyse(model), states);
  const { value, text } = headlineOf(data);
  const body = [
    header(data, name),
    graphSection(graph, name),
    skippedSection(data),
    savingsSection(data),
    tablesSection(data, costsOf(calls)),
  ];
  return page(`${name}: ${value} ${text}`, body, INSPECT_STYLE);
}

const section = (title: string, ...content: Part[]): Markup =>
  markup`<section><h2>${title}</h2>\n${content}</section>\n`;

function header(data: InspectData, name: string): Markup {
  const { value, text } = headlineOf(data);
  return markup`<header><p class="eyebrow">Model inspection · <span class="name">${name}</span></p>
<h1><span class="figure">${value}</span> <span class="figure-text">${text}</span></h1>
<dl class="facts">${facts(data).map(
    ([fact, said, remark]) =>
      markup`<div><dt>${fact}</dt><dd><span class="name">${breakable(said)}</span>${remark !== undefined && markup`<small>${remark}</small>`}</dd></div>\n`,
  )}</dl>
${remarks(data).map((remark) => markup`<p class="remark">${remark}</p>`)}</header>
`;
}

function graphSection(graph: Graph, name: string): Markup {
  const { boxes } = graph;
  if (boxes.length > MOST_BOXES) {
    const said = `The graph has ${whole(boxes.length)} boxes. More than ${whole(MOST_BOXES)} cannot be read as a picture, so there is none; the tables below have everything.`;
    return section('The graph', markup`<p>${said}</p>`);
  }
  const title = `Graph of ${name}: ${count(boxes.length, 'box')}, inputs at the top left`;
  return section(
    'The graph',
    legend(graph),
    markup`<div class="wide" tabindex="0" aria-label="Picture of the graph; scrolls sideways">${drawGraph(graph, title)}</div>`,
  );
}

function legend({ boxes }: Graph): Markup {
  const entries = STATES.map((entry) => ({
    ...entry,
    many: boxes.filter(({ state }) => state === entry.state).length,
  }));
  return markup`<ul class="legend">${entries
    .filter(({ many }) => many > 0)
    .map(
      ({ state, name, meaning, many }) =>
        markup`<li><svg width="30" height="16" aria-hidden="true"><g class="${`box ${state}`}"><rect x="1" y="1" width="28" height="14" rx="3"/>${STRIPED.includes(state) && markup`<rect class="stripe" x="1" y="1" width="4" height="14"/>`}</g></svg><b>${many}</b> ${name} <small>${meaning}</small></li>\n`,
    )}<li><small>Thick outline: an input or output of the model.</small></li></ul>`;
}

function skippedSection({ skipped, restore }: InspectData): Markup {
  const left = restore?.filter(({ restored }) => !restored) ?? [];
  return markup`${
    skipped.length > 0 &&
    section(
      'BatchNorms left alone',
      markup`<p class="remark">In Tune mode these behave as in Eval mode: moving statistics that nothing changes.</p>`,
      dataTable(
        ['BatchNormalization', 'code', 'reason'],
        skipped.map(({ bn, code, reason }) => [bn, code, reason]),
      ),
    )
  }${
    left.length > 0 &&
    section(
      'Convolutions that get no BatchNorm',
      dataTable(
        ['convolution', 'reason'],
        left.map(({ conv, reason }) => [conv, reason ?? NONE]),
      ),
    )
  }`;
}

function savingsSection(data: InspectData): Markup {
  const { after, before, kept } = data.deploy;
  const folded = after.length + before.length;
  if (folded + kept.length === 0) return markup``;
  return section(
    'What Deploy saves',
    markup`<p>Deploy folds ${folded} of ${count(folded + kept.length, 'BatchNorm')} into ${folded === 1 ? 'its conv' : 'their convs'}${before.length > 0 && `, ${before.length} of them into the layer after`}. The predictions stay the same.</p>`,
    dataTable(SAVINGS_HEAD, savingsRows(data), 'numbers'),
    markup`<p class="remark">For one picture. Activations are the float32 outputs of all layers, added up.</p>`,
  );
}

function tablesSection({ pairs, deploy }: InspectData, costs: ModelCosts): Markup {
  return section(
    'Everything as tables',
    pairs.length > 0 &&
      fold(
        `${count(pairs.length, 'block')} of conv and BatchNormalization`,
        dataTable(
          ['conv', 'kind', 'BatchNormalization', 'activation'],
          pairs.map(({ conv, kind, bn, activation }) => [conv, kind, bn, activation ?? NONE]),
        ),
      ),
    deploy.kept.length > 0 &&
      fold(
        `${count(deploy.kept.length, 'BatchNorm')} that Deploy keeps`,
        dataTable(
          ['BatchNormalization', 'code', 'reason'],
          deploy.kept.map(({ bn, code, reason }) => [bn, code, reason]),
        ),
      ),
    fold(
      `What each of ${count(costs.layers.length, 'layer call')} costs`,
      dataTable(
        ['layer', 'kind', 'output', 'parameters', 'multiply-adds', 'activations'],
        costs.layers.map((layer) => [
          layer.use === 0 ? layer.path : `${layer.path} (use ${layer.use + 1})`,
          layer.kind,
          layer.outputs.map(shapeText).join(', '),
          whole(layer.parameters),
          short(layer.multiplyAdds),
          bytes(layer.activationBytes),
        ]),
        'numbers',
      ),
    ),
  );
}

const fold = (title: string, content: Markup) => markup`<details><summary>${title}</summary>${content}</details>\n`;

function dataTable(columns: string[], rows: string[][], kind = ''): Markup {
  return markup`<div class="scroll"><table class="${`data ${kind}`.trim()}"><thead><tr>${columns.map(
    (column) => markup`<th scope="col">${column}</th>`,
  )}</tr></thead><tbody>${rows.map(
    ([name, ...cells]) =>
      markup`<tr><th scope="row" class="name">${breakable(name)}</th>${cells.map((cell) => markup`<td>${cell}</td>`)}</tr>\n`,
  )}</tbody></table></div>`;
}
