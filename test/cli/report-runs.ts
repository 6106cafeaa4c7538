/** Runs to report on, from a seeded generator. */
import jpeg from 'jpeg-js';
import type { RunReport, WorstPicture } from '../../cli/report/run-report';
import type { EpochRecord } from '../../src/fine-tune/history';
import { type Random, random } from '../helpers/random';

const BREEDS =
  'Abyssinian American_Bulldog American_Pit_Bull_Terrier Basset_Hound Beagle Bengal Birman Bombay Boxer ' +
  'British_Shorthair Chihuahua Egyptian_Mau English_Cocker_Spaniel English_Setter German_Shorthaired Great_Pyrenees ' +
  'Havanese Japanese_Chin Keeshond Leonberger Maine_Coon Miniature_Pinscher Newfoundland Persian Pomeranian Pug ' +
  'Ragdoll Russian_Blue Saint_Bernard Samoyed Scottish_Terrier Shiba_Inu Siamese Sphynx Staffordshire_Bull_Terrier ' +
  'Wheaten_Terrier';

export const breeds: string[] = BREEDS.split(' ');

export interface RunOptions {
  labels?: string[];
  epochs?: number;
  seed?: number;
  mistakes?: number;
}

/** A sound run: a loss that falls, an accuracy that grows. */
export function makeRun(
  { labels = ['ants', 'bees'], epochs = 10, seed = 1, mistakes = 8 }: RunOptions = {},
  changes: Partial<RunReport> = {},
): RunReport {
  const numbers = random(seed);
  const history = makeHistory(epochs, labels.length, numbers);
  const best = history.reduce((a, b) => (b.valAccuracy > a.valAccuracy ? b : a));
  const val = labels.map(() => Math.round(numbers.uniform(15, 30) * (labels.length > 2 ? 1 : 3)));
  return {
    version: '0.2.0',
    date: '2026-03-14T09:26:53.589Z',
    command: 'npx tfjs-tune-mode finetune mobilenet_v1/model.json data/insects --epochs 10 --out insects-model',
    model: 'mobilenet_v1_1.0_224',
    data: 'data/insects',
    backend: 'wasm, 4 threads',
    mode: 'tune',
    optimizer: 'adam',
    batchSize: 32,
    imageSize: [224, 224],
    seed: 7,
    labels,
    counts: { train: val.map((count) => 2 * count + 3), val },
    head: `New head for ${labels.length} classes on the 1024 features of layer 'conv_pw_13_relu', pooled.`,
    history,
    bestEpoch: best.epoch,
    ending: 'finished',
    learningRate: 3.9e-4,
    rateTest: makeRateTest(numbers),
    confusion: makeConfusion(val, best.valAccuracy, numbers),
    worst: Array.from({ length: mistakes }, (_, index) => makeWorst(index, labels, numbers)),
    time: { totalSeconds: 252.4, headSeconds: 21.3, msPerStep: 612.3, waiting: 0.031 },
    memory: { peakBytes: 412e6, rssBytes: 1.24e9 },
    blocks: {
      pairs: Array.from({ length: 27 }, (_, index) => ({
        conv: `conv_pw_${index + 1}`,
        bn: `conv_pw_${index + 1}_bn`,
        activation: index % 5 === 4 ? null : `conv_pw_${index + 1}_relu`,
        kind: index % 2 === 0 ? 'Conv2D' : 'DepthwiseConv2D',
      })),
      skipped: [{ bn: 'bn_alone', code: 'not-after-conv', reason: "its input is the output of 'pool' (MaxPooling2D)" }],
    },
    skippedPictures: [{ file: 'data/insects/train/bees/broken.jpg', reason: 'it is damaged or cut off' }],
    ...changes,
  };
}

function makeHistory(epochs: number, classes: number, { uniform }: Random): EpochRecord[] {
  const start = 1 / classes + 0.55 * (1 - 1 / classes);
  return Array.from({ length: epochs + 1 }, (_, epoch) => {
    const progress = 1 - Math.exp((-4 * epoch) / Math.max(epochs, 1));
    const valAccuracy = start + (0.95 - start) * progress + uniform(-0.015, 0.015);
    const isHead = epoch === 0;
    return {
      epoch,
      loss: isHead ? null : Math.log(classes) * (0.1 + 0.55 * Math.exp((-3 * epoch) / epochs)) + uniform(0, 0.03),
      accuracy: isHead ? null : start + (0.985 - start) * progress + uniform(-0.02, 0.01),
      valLoss: Math.log(classes) * (0.14 + 0.4 * Math.exp((-3 * epoch) / Math.max(epochs, 1))) + uniform(-0.02, 0.02),
      valAccuracy,
      learningRate: isHead ? null : 3.9e-4 * (1 - epoch / (epochs + 1)),
      seconds: uniform(18, 24),
      picturesPerSecond: isHead ? null : uniform(48, 52),
      msPerStep: isHead ? null : uniform(600, 640),
      waiting: isHead ? null : uniform(0.02, 0.05),
    };
  });
}

function makeRateTest({ uniform }: Random): RunReport['rateTest'] {
  return Array.from({ length: 25 }, (_, step) => {
    const learningRate = 3e-6 * (1e-2 / 3e-6) ** (step / 29);
    const loss = 0.31 - 0.004 * step + uniform(-0.008, 0.008) + (step > 18 ? 0.011 * (step - 18) ** 2 : 0);
    return { learningRate, loss };
  });
}

function makeConfusion(counts: readonly number[], accuracy: number, { uniform }: Random): number[][] {
  return counts.map((count, label) => {
    const row = counts.map(() => 0);
    for (let picture = 0; picture < count; picture++) {
      const isRight = counts.length === 1 || uniform(0, 1) < accuracy;
      // A wrong one is most often taken for a neighbour.
      const offset = 1 + Math.floor(uniform(0, 1) ** 3 * (counts.length - 1));
      row[isRight ? label : (label + offset) % counts.length]++;
    }
    return row;
  });
}

function makeWorst(index: number, labels: readonly string[], numbers: Random): WorstPicture {
  const label = Math.floor(numbers.uniform(0, labels.length));
  const probability = numbers.uniform(0.7, 0.999);
  return {
    file: `data/insects/val/${labels[label]}/${Math.floor(numbers.uniform(1e8, 1e9))}_${index}.jpg`,
    src: makeThumbnail(numbers),
    label: labels[label],
    predicted: labels[(label + 1) % labels.length],
    probability,
    probabilityOfLabel: (1 - probability) * numbers.uniform(0, 1),
  };
}

function makeThumbnail({ uniform }: Random): string {
  const size = 160;
  const data = Buffer.alloc(size * size * 4, 255);
  const [fx, fy, red, blue] = [uniform(1, 6), uniform(1, 6), uniform(60, 220), uniform(60, 220)];
  for (let i = 0; i < size * size; i++) {
    const wave = Math.sin((fx * (i % size)) / size) * Math.cos((fy * Math.floor(i / size)) / size);
    data.set([red + 30 * wave, 140 + 60 * wave, blue - 30 * wave], 4 * i);
  }
  return `data:image/jpeg;base64,${jpeg.encode({ width: size, height: size, data }, 80).data.toString('base64')}`;
}
