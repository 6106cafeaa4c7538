/** Small copies of the pictures that a model got most wrong, for the report. */
import { Buffer } from 'node:buffer';
import jpeg from 'jpeg-js';
import { readPicture } from '../../adapters/node/read-picture';
import type { Mistake } from '../../src/fine-tune/evaluate';
import type { WorstPicture } from './run-report';
import { className } from './summary';

const MAX_PICTURES = 12;
const SIZE = 160;
const QUALITY = 80;

/**
 * The first twelve mistakes with a square thumbnail each: upright, and cut as the model saw the picture.
 * A picture that is gone or cannot be read has an empty `src`.
 */
export async function worstPictures(mistakes: readonly Mistake[], labels: readonly string[]): Promise<WorstPicture[]> {
  const pictures: WorstPicture[] = [];
  // One after the other, so that one large picture at a time is in memory.
  for (const { index, file, label, predicted, probability, probabilityOfLabel } of mistakes.slice(0, MAX_PICTURES)) {
    pictures.push({
      file: file ?? `validation picture ${index + 1}`,
      src: file === undefined ? '' : await thumbnail(file),
      label: className(labels, label),
      predicted: className(labels, predicted),
      probability,
      probabilityOfLabel,
    });
  }
  return pictures;
}

/** A data: URI; empty where the picture cannot be read. */
async function thumbnail(file: string): Promise<string> {
  const reading = await readPicture({ file, size: [SIZE, SIZE], inputRange: [0, 255], channels: 3 });
  if ('reason' in reading) return '';
  const { pixels } = reading;
  const data = Buffer.alloc(SIZE * SIZE * 4, 255);
  for (let i = 0; i < SIZE * SIZE; i++) {
    for (let c = 0; c < 3; c++) data[4 * i + c] = Math.round(pixels[3 * i + c]);
  }
  return `data:image/jpeg;base64,${jpeg.encode({ width: SIZE, height: SIZE, data }, QUALITY).data.toString('base64')}`;
}
