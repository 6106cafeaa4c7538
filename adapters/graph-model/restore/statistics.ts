/** Mean and variance of what BatchNormalizations take in, over batches that come one after the other. */
import { dispose, keep, moments, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../../src/errors';
import { axisOf, type BatchNormLayer, type Inputs, type Kwargs } from '../../../src/internals';
import type { ChannelStatistics } from './algebra';

/** Sums of one channel set so far; in doubles, as float32 would lose what many batches add. */
class Moments {
  private count = 0;
  private readonly mean: Float64Array;
  /** Σ (x − mean)². */
  private readonly squares: Float64Array;

  constructor(channels: number) {
    this.mean = new Float64Array(channels);
    this.squares = new Float64Array(channels);
  }

  /** Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979), (1.5). */
  merge(count: number, mean: ArrayLike<number>, variance: ArrayLike<number>): void {
    const total = this.count + count;
    for (let c = 0; c < this.mean.length; c++) {
      const difference = mean[c] - this.mean[c];
      this.mean[c] += (difference * count) / total;
      this.squares[c] += variance[c] * count + (difference ** 2 * this.count * count) / total;
    }
    this.count = total;
  }

  result(): ChannelStatistics {
    return { mean: this.mean.slice(), variance: this.squares.map((sum) => sum / this.count) };
  }
}

interface Seen {
  bn: BatchNormLayer;
  count: number;
  mean: Tensor;
  variance: Tensor;
}

/**
 * Watches BNs while a model runs. They are layers of the model that is being made, which nobody else has yet.
 * `stop` must be called, whatever happens.
 */
export class Watch {
  private seen: Seen[] = [];
  private readonly moments = new Map<BatchNormLayer, Moments>();
  private readonly undos: (() => void)[] = [];

  /** @param batchNorms Each with a name for messages. */
  constructor(private readonly batchNorms: ReadonlyMap<BatchNormLayer, string>) {
    for (const bn of batchNorms.keys()) this.watch(bn);
  }

  /** Takes in what the BNs saw since the last time. @throws TuneModeError `invalid-data` for values that are not finite. */
  async collect(): Promise<void> {
    const seen = this.seen.splice(0);
    try {
      for (const { bn, count, mean, variance } of seen) {
        const [means, variances] = [await mean.data(), await variance.data()];
        if (![...means, ...variances].every(Number.isFinite)) {
          throw new TuneModeError(
            'invalid-data',
            `restoreBatchNorm: on the calibration pictures, layer '${this.batchNorms.get(bn)}' gives NaN or infinite values. Use pictures in the range that the model was trained on.`,
          );
        }
        let moments = this.moments.get(bn);
        if (moments === undefined) {
          moments = new Moments(means.length);
          this.moments.set(bn, moments);
        }
        moments.merge(count, means, variances);
      }
    } finally {
      for (const { mean, variance } of seen) dispose([mean, variance]);
    }
  }

  /** After at least one pass. */
  statisticsOf(bn: BatchNormLayer): ChannelStatistics {
    return (this.moments.get(bn) as Moments).result();
  }

  stop(): void {
    for (const undo of this.undos.splice(0)) undo();
    for (const { mean, variance } of this.seen.splice(0)) dispose([mean, variance]);
  }

  private watch(bn: BatchNormLayer): void {
    const own = Object.getOwnPropertyDescriptor(bn, 'call');
    const call = bn.call;
    bn.call = (inputs: Inputs, kwargs: Kwargs) => {
      const x = Array.isArray(inputs) ? inputs[0] : inputs;
      this.seen.push(measure(bn, x));
      return call.call(bn, inputs, kwargs);
    };
    this.undos.push(() => {
      if (own === undefined) delete (bn as Partial<BatchNormLayer>).call;
      else Object.defineProperty(bn, 'call', own);
    });
  }
}

function measure(bn: BatchNormLayer, x: Tensor): Seen {
  const channels = axisOf(bn, x.rank);
  const others = x.shape.map((_, axis) => axis).filter((axis) => axis !== channels);
  const [mean, variance] = tidy(() => {
    const found = moments(x, others);
    return [keep(found.mean), keep(found.variance)];
  });
  return { bn, count: x.size / x.shape[channels], mean, variance };
}
