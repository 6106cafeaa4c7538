/**
 * `npm start`: the finetune command on what the package ships.
 *
 * A small ConvBN net, pretrained on circles, crosses, squares and triangles, is tuned to shapes that it has never seen;
 * then the result looks at a few pictures. Each command is shown as you would type it.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { drawPictures } from './draw-pictures';

const CLASSES = ['hexagon', 'moon', 'ring', 'star'];
const root = path.join(import.meta.dirname, '..');

const out = process.argv[2] ?? 'out';
// Drawn over, never removed: the folder may be anybody's.
const pictures = path.join(out, 'tfjs-tune-mode-shapes-pictures');
await drawPictures(path.join(pictures, 'seen'), { shapes: CLASSES, count: 120, size: 64, seed: 7 });
await drawPictures(path.join(pictures, 'new'), { shapes: CLASSES, count: 2, size: 64, seed: 8 });

const model = path.relative('.', path.join(root, 'examples', 'assets', 'shapes-model'));
const tuned = path.join(out, 'shapes');
await command('finetune', '--model', model, '--data', path.join(pictures, 'seen'), '--out', tuned, '--force');
const unseen = CLASSES.map((name) => path.join(pictures, 'new', name, '000.png'));
await command('predict', '--model', tuned, ...unseen);
console.log(`\nOpen ${path.join(tuned, 'report.html')} in a browser.`);

/** Ends this process where the command fails. */
function command(...args: string[]): Promise<void> {
  console.log(`\n$ tfjs-tune-mode ${args.join(' ')}`);
  // Ctrl-C reaches the command itself, which is to end the way it ends.
  const wait = () => {};
  process.on('SIGINT', wait);
  const child = spawn(process.execPath, [path.join(root, 'dist', 'cli.js'), ...args], { stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      process.removeListener('SIGINT', wait);
      if (code === 0) resolve();
      else process.exit(code ?? 1);
    });
  });
}
