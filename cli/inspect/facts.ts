/** What text and page both say of a model, in words. */

import type { Shape } from '@tensorflow/tfjs-layers';
import { FORMAT_NAMES, type ModelFormat } from '../../adapters/convert/source';
import { bytes, count, NONE, whole } from '../report/format';
import type { Costs } from './costs';
import type { InspectData } from './data';

/** `224×224×3`, without the batch; an open size is a question mark. */
export function shapeText(shape: Shape): string {
  return shape.length < 2
    ? 'one number'
    : shape
        .slice(1)
        .map((length) => length ?? '?')
        .join('×');
}

/** `41.0 M`, `3.8 G` */
export function short(value: number): string {
  if (value < 1e4) return whole(value);
  const [size, unit] = value < 999.5e3 ? [1e3, 'k'] : value < 999.5e6 ? [1e6, 'M'] : [1e9, 'G'];
  const scaled = value / size;
  return `${scaled < 100 ? scaled.toFixed(1) : scaled.toFixed(0)} ${unit}`;
}

export const COSTS: readonly { key: keyof Costs; name: string; text: (value: number) => string }[] = [
  { key: 'parameters', name: 'parameters', text: whole },
  { key: 'multiplyAdds', name: 'multiply-adds', text: short },
  { key: 'activationBytes', name: 'activations', text: bytes },
];

/** `2.98%`; nothing is 0%. */
export const percentText = (value: number): string => `${value === 0 ? '0' : value.toFixed(value < 9.95 ? 2 : 1)}%`;

/** Rows of cells: what is counted, before Deploy, after it, the difference, and that as a share. */
export function savingsRows({ deploy: { savings } }: InspectData): string[][] {
  return COSTS.map(({ key, name, text }) => [
    name,
    text(savings.before[key]),
    text(savings.after[key]),
    text(savings.difference[key]),
    percentText(savings.percentage[key]),
  ]);
}

export const SAVINGS_HEAD = ['', 'as it is', 'deployed', 'saved', 'share'];

/** The first few: a net that gives out its features has dozens of outputs. */
function sizesText(tensors: InspectData['inputs']): string {
  const said = tensors.slice(0, 3).map(({ name, shape }) => `${name} ${shapeText(shape)}`);
  return said.join(', ') + (tensors.length > 3 ? `, and ${tensors.length - 3} more` : '');
}

export function headlineOf({ pairs, skipped, restore }: InspectData): { value: string; text: string } {
  if (restore !== undefined && restore.length > 0) {
    const restored = restore.filter((conv) => conv.restored).length;
    return { value: `${restored}/${restore.length}`, text: 'convolutions can get their BatchNorm back' };
  }
  const all = pairs.length + skipped.length;
  if (all === 0) return { value: '0', text: 'BatchNorms: nothing to tune here' };
  return {
    value: `${pairs.length}/${all}`,
    text: `${all === 1 ? 'BatchNorm' : 'BatchNorms'} can be tuned with a conv`,
  };
}

export function facts(data: InspectData): [name: string, value: string, remark?: string][] {
  const { format, size, producer, inputs, outputs, weights, costs, blocks } = data;
  const open = inputs.filter(({ shape }) => shape.slice(1).includes(null));
  const blockText = blocks.map(({ kind, count: many }) => `${many} ${kind}`).join(', ');
  return [
    ['Format', FORMAT_NAMES[format as ModelFormat] ?? format, producer ?? undefined],
    ['On disk', bytes(size)],
    ['Inputs', sizesText(inputs)],
    ['Outputs', sizesText(outputs)],
    ['Parameters', short(weights.parameters), `in ${count(weights.count, 'weight')}`],
    [
      'Multiply-adds',
      short(costs.multiplyAdds),
      open.length === 0 ? 'for one picture' : `counted at ${open.map(({ counted }) => shapeText(counted)).join(', ')}`,
    ],
    ['Blocks', blockText === '' ? NONE : blockText],
  ];
}

/** What makes the figures less than they seem; nothing for most nets. */
export function remarks({ costs: { uncounted, misfit } }: InspectData): string[] {
  const kinds = [...new Set(uncounted.map(({ kind }) => kind))].join(', ');
  return [
    ...(uncounted.length === 0
      ? []
      : [
          `Multiply-adds of ${count(uncounted.length, 'layer')} are not counted (${kinds}), or the sizes there are open.`,
        ]),
    ...(misfit === null
      ? []
      : [`The input size that was counted with does not fit: '${misfit}' would get parts of different sizes.`]),
  ];
}
