/** What does not fit, collected: one refusal that names it all. */
import { TuneModeError } from '../../../src/errors';
import { type ModelWeight, sameShape, shapeText } from './model-parts';
import type { StoredWeight } from './stored-weight';

const MOST_NAMED = 10;

export class Mismatches {
  private readonly found: string[] = [];

  constructor(private readonly place: string) {}

  add(what: string): void {
    this.found.push(what);
  }

  get isEmpty(): boolean {
    return this.found.length === 0;
  }

  /** A weight whose shape is not the model's. */
  shape(layer: string, stored: StoredWeight, weight: ModelWeight): void {
    const { shape } = weight;
    if (sameShape(stored.shape, shape)) return;
    this.add(
      `layer '${layer}': the weight '${stored.name}' has the shape ${shapeText(stored.shape)}, expected ${shapeText(shape)}`,
    );
  }

  /** @throws TuneModeError `invalid-model-file` naming what was added. */
  refuse(): void {
    if (this.found.length === 0) return;
    const more = this.found.length > MOST_NAMED ? `; and ${this.found.length - MOST_NAMED} more` : '';
    throw new TuneModeError(
      'invalid-model-file',
      `'${this.place}': its weights are not this model's: ${this.found.slice(0, MOST_NAMED).join('; ')}${more}. ` +
        'Take the file that was saved from this very model.',
    );
  }
}
