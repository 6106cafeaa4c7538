/**
 * A process of its own for webgpu in Node: Dawn's bindings are a native addon, which may crash. Prints a line of JSON for
 * every row of the table. `navigator.gpu` must be there before tfjs's backend is loaded.
 */
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]) }, configurable: true });

async function main(): Promise<void> {
  const tf = await import('@tensorflow/tfjs-core');
  tf.env().set('PROD', true);
  await import('@tensorflow/tfjs-backend-cpu');
  await import('@tensorflow/tfjs-backend-webgpu');
  const { checkRow, rowsOn } = await import('./rows');
  for (const { name } of rowsOn('webgpu')) {
    const error = await checkRow(name, 'webgpu').then(
      () => null,
      (reason: Error) => reason.message,
    );
    console.log(JSON.stringify({ name, error }));
  }
}

// Dawn keeps the process alive.
main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
