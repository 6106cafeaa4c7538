/**
 * `tfjs-tune-mode inspect <model>`: what Tune mode would pair in a saved layers model, and what Deploy would fold; of a
 * GraphModel, what can be lifted, and where BatchNorms can be put back.
 */
import { enableProdMode, ready, setBackend } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import type { LiftedModel } from '../../adapters/graph-model/lifted';
import { isTarget, planRestore } from '../../adapters/graph-model/restore/plan';
import { isGraphModelAt, loadModel, loadTopology } from '../../adapters/node/load-model';
import { inspect, inspectDeploy } from '../../src';
import { table } from '../../src/report';
import type { Command, Output } from '../command';

export const inspectCommand: Command = {
  name: 'inspect',
  summary: 'show which Conv + BatchNorm blocks of a saved model, layers or graph, can be tuned, and which not and why',
  positionals: ['model'],
  options: { json: { type: 'boolean' } },
  help: { json: 'print one JSON object instead of tables' },
  async run({ positionals: [path], values }, output) {
    const { out } = output;
    // Without it tfjs advises, on stderr, to install its native backend.
    enableProdMode();
    await setBackend('cpu');
    await ready();
    if (await isGraphModelAt(path)) {
      await inspectGraph(path, values.json === true, output);
      return undefined;
    }
    const model = await loadTopology(path);
    const report = inspect(model);
    const deploy = inspectDeploy(model);
    if (values.json === true) {
      const { after, before, kept } = deploy;
      const { pairs, skipped } = report;
      out(JSON.stringify({ model: path, pairs, skipped, deploy: { after, before, kept } }, null, 2));
    } else {
      out(`${report}\n\n${deploy}`);
    }
    model.dispose();
    return undefined;
  },
};

async function inspectGraph(path: string, asJson: boolean, { out }: Output): Promise<void> {
  const { model, lifted } = await loadModel(path);
  const { inputs, outputs, report } = lifted as LiftedModel;
  const { convs } = planRestore(model, () => true);
  const restore = convs.map((conv) =>
    isTarget(conv)
      ? { conv: conv.path, restored: true, reason: null }
      : { conv: conv.conv, restored: false, reason: conv.reason },
  );
  if (asJson) {
    const { nodes, products, ownLayers } = report;
    const { pairs, skipped } = inspect(model);
    out(JSON.stringify({ model: path, inputs, outputs, nodes, products, ownLayers, pairs, skipped, restore }, null, 2));
  } else {
    const others = restore.filter(({ restored }) => !restored);
    const lines = [
      `GraphModel, from ${inputs.join(', ')} to ${outputs.join(', ')}`,
      '',
      report.toString(),
      '',
      `finetune puts a BatchNorm back behind ${restore.length - others.length} of ${restore.length} convolutions`,
    ];
    if (others.length > 0) {
      lines.push(
        '',
        table(
          ['left as it is', 'reason'],
          others.map(({ conv, reason }) => [conv, reason ?? '-']),
        ),
      );
    }
    out(lines.join('\n'));
  }
  model.dispose();
}
