/** How good a model is on pictures that it does not train on. */
import { dispose, type Tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import type { Batch, BatchSource } from './data';

/** A validation picture that was taken for another class. */
export interface Mistake {
  /** Index of the picture in the validation set's fixed order. */
  index: number;
  /** Its name, where the data set gives names. */
  file?: string;
  /** Index of its class. */
  label: number;
  /** Index of the class it was taken for. */
  predicted: number;
  /** What the model gave that class, 0…1. */
  probability: number;
  /** What the model gave the right class, 0…1. */
  probabilityOfLabel: number;
}

export interface Evaluation {
  /** Mean cross-entropy, in nats. */
  loss: number;
  /** Share of the pictures that were right, 0…1. */
  accuracy: number;
  /** Pictures by class and by prediction: `confusion[label][predicted]`. */
  confusion: number[][];
  /** The worst ones, the worst first; at most `MISTAKES_KEPT`, so that memory does not grow with the set. */
  mistakes: Mistake[];
}

const MISTAKES_KEPT = 24;
/** Rounding of a softmax in float32. */
const SLACK = 1e-4;
/** As in tfjs-layers' cross-entropy: a probability of 0 costs 16.1, not infinity. */
const LEAST_PROBABILITY = 1e-7;

/** @param afterBatch called after each batch; it may throw to stop. */
export async function evaluate(
  model: LayersModel,
  pictures: BatchSource,
  afterBatch: (done: number) => void | Promise<void> = () => {},
): Promise<Evaluation> {
  const classes = model.outputs[0].shape[1] as number;
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  const mistakes: Mistake[] = [];
  let loss = 0;
  let count = 0;
  let right = 0;
  let batches = 0;
  for await (const batch of pictures.batches({ epoch: 0, shuffle: false, augment: false })) {
    const { probabilities, labels } = await predict(model, batch);
    labels.forEach((label, row) => {
      const of = probabilities.subarray(row * classes, (row + 1) * classes);
      checkProbabilities(of, model.name);
      const predicted = indexOfLargest(of);
      confusion[label][predicted]++;
      loss -= Math.log(Math.max(of[label], LEAST_PROBABILITY));
      if (predicted === label) right++;
      else {
        const file = batch.files?.[row];
        const mistake = { label, predicted, probability: of[predicted], probabilityOfLabel: of[label] };
        mistakes.push({ index: count + row, ...(file === undefined ? {} : { file }), ...mistake });
      }
    });
    count += labels.length;
    if (mistakes.length > MISTAKES_KEPT) keepWorst(mistakes);
    await afterBatch(++batches);
  }
  keepWorst(mistakes);
  return { loss: loss / count, accuracy: right / count, confusion, mistakes };
}

/** A head without softmax or sigmoid would be trained on a loss that means nothing. NaN is the caller's business. */
export function checkProbabilities(values: Float32Array, name: string): void {
  const wrong = values.find((value) => value < -SLACK || value > 1 + SLACK);
  if (wrong === undefined) return;
  throw new TuneModeError(
    'unsupported',
    `The model '${name}' gives ${wrong} for a class; expected probabilities, as from a softmax at its end. ` +
      'A new head (without keepHead, or --keep-head) gives some.',
  );
}

/** Class probabilities and labels of a batch, which is disposed. */
async function predict(model: LayersModel, { xs, ys }: Batch) {
  const output = model.predictOnBatch(xs) as Tensor;
  try {
    const probabilities = (await output.data()) as Float32Array;
    return { probabilities, labels: labelsOf((await ys.data()) as Float32Array, ys.shape[1]) };
  } finally {
    dispose([output, xs, ys]);
  }
}

/** Class indices of one-hot rows. */
export function labelsOf(oneHot: Float32Array, classes: number): number[] {
  return Array.from({ length: oneHot.length / classes }, (_, row) =>
    indexOfLargest(oneHot.subarray(row * classes, (row + 1) * classes)),
  );
}

function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** The surer the model was of the wrong class and the less it gave the right one, the worse. */
function keepWorst(mistakes: Mistake[]): void {
  mistakes.sort((a, b) => a.probabilityOfLabel - b.probabilityOfLabel || a.index - b.index);
  mistakes.length = Math.min(mistakes.length, MISTAKES_KEPT);
}
