/** `tfjs-tune-mode inspect <model>`: what Tune mode would pair in a saved layers model, and what Deploy would fold. */
import { enableProdMode, ready, setBackend } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { loadTopology } from '../../adapters/node/load-model';
import { inspect, inspectDeploy } from '../../src';
import type { Command } from '../command';

export const inspectCommand: Command = {
  name: 'inspect',
  summary: 'show which Conv + BatchNorm blocks of a saved model can be tuned, and which not and why',
  positionals: ['model'],
  options: { json: { type: 'boolean' } },
  help: { json: 'print one JSON object instead of tables' },
  async run({ positionals: [path], values }, { out }) {
    // Without it tfjs advises, on stderr, to install its native backend.
    enableProdMode();
    await setBackend('cpu');
    await ready();
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
  },
};
