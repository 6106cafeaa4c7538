/** Everything that the report of a fine-tuning run shows. */
import type { BlockReport, Mode, SkippedReport } from '../../src';
import type { Ending, EpochRecord, RatePoint } from '../../src/fine-tune/history';

/** A validation picture that the model got wrong. */
export interface WorstPicture {
  file: string;
  /** Thumbnail as a data: URI. */
  src: string;
  label: string;
  predicted: string;
  /** Of the predicted class, 0…1. */
  probability: number;
  /** Of the true class, 0…1. */
  probabilityOfLabel: number;
}

export interface RunReport {
  version: string;
  date: string;
  command: string;
  model: string;
  data: string;
  backend: string;
  mode: Mode;
  optimizer: string;
  batchSize: number;
  imageSize: readonly [number, number];
  seed: number;
  labels: string[];
  /** Pictures per class. */
  counts: { train: number[]; val: number[] };
  /** One sentence. */
  head: string;
  /** Epoch 0 is the head alone. */
  history: EpochRecord[];
  bestEpoch: number;
  ending: Ending;
  learningRate: number;
  rateTest: RatePoint[] | null;
  /** [true][predicted], validation pictures at the best epoch. */
  confusion: number[][];
  worst: WorstPicture[];
  /** `waiting`: share of the training time spent waiting for pictures, 0…1. */
  time: { totalSeconds: number; headSeconds: number; msPerStep: number | null; waiting: number | null };
  memory: { peakBytes: number | null; rssBytes: number | null };
  blocks: { pairs: BlockReport[]; skipped: SkippedReport[] };
  skippedPictures: { file: string; reason: string }[];
}
