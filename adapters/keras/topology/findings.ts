/** What a mapping has found: notes for the user, and everything it cannot do, told all at once. */
import { TuneModeError } from '../../../src/errors';
import { show } from './plain';

const MOST_LISTED = 20;

interface Writer {
  /** 1, 2 or 3; undefined where the file does not say. */
  major: number | undefined;
  version: string | undefined;
  /** tfjs-layers wrote the file: what it computes differently from Keras is then what the model was trained with. */
  tfjs: boolean;
}

/** @param model its spelling tells Keras 3 where the version is missing, or that of a file with the weights alone. */
export function writerOf(version: string | undefined, model?: unknown): Writer {
  const tfjs = version?.startsWith('tfjs-layers') ?? false;
  if (!tfjs && isKeras3(model)) return { version, tfjs, major: 3 };
  const major = tfjs ? undefined : /^(\d+)\./.exec(version ?? '')?.[1];
  return { version, tfjs, major: major === undefined ? undefined : Number(major) };
}

/** Whether there is something in it that no other version writes. */
function isKeras3(value: unknown): boolean {
  if (value === null || typeof value !== 'object') return false;
  if (!Array.isArray(value)) {
    const { class_name: className } = value as { class_name?: unknown };
    if (className === '__keras_tensor__' || className === 'DTypePolicy' || 'batch_shape' in value) return true;
  }
  return Object.values(value).some(isKeras3);
}

export class Findings {
  readonly notes = new Set<string>();
  private readonly problems: string[] = [];
  private readonly classes = new Set<string>();

  /** A layer masks steps; what counts for masked steps only matters then. */
  masked = false;
  /** A layer takes masks into account. */
  recurrent = false;
  private readonly ifMaskedRecurrent: [string, string, string][] = [];
  private readonly ifMasked: [string, string, string][] = [];

  /** A layer has its channels first; which axis is the last one is known only of some layers. */
  channelsFirst = false;
  private readonly ifChannelsFirst: [string, string, string][] = [];

  /** A topology for Keras to read, not one for tfjs. */
  forKeras = false;

  constructor(
    readonly place: string,
    readonly writer: Writer,
    readonly allowCustom: boolean,
  ) {}

  note(text: string): void {
    this.notes.add(text);
  }

  /** Something tfjs-layers would compute differently or not at all. */
  unsupported(layer: string, className: string, text: string): void {
    this.problems.push(`${show(layer)} (${className}): ${text}`);
    this.classes.add(className);
  }

  unsupportedIfMasked(layer: string, className: string, text: string): void {
    this.ifMasked.push([layer, className, text]);
  }

  unsupportedIfMaskedRecurrent(layer: string, className: string, text: string): void {
    this.ifMaskedRecurrent.push([layer, className, text]);
  }

  unsupportedIfChannelsFirst(layer: string, className: string, text: string): void {
    this.ifChannelsFirst.push([layer, className, text]);
  }

  /** Something tfjs-layers does not know, which the user may have registered there. */
  unknown(layer: string, className: string, text: string): void {
    if (this.allowCustom) this.note(`${show(layer)} (${className}): ${text}; kept as it is.`);
    else this.unsupported(layer, className, text);
  }

  /** A file that no Keras wrote like this. */
  invalid(layer: string, text: string): TuneModeError {
    const at = layer === '' ? '' : `, layer ${show(layer)}`;
    return new TuneModeError('invalid-model-file', `'${this.place}'${at}: ${text}`);
  }

  /** @throws TuneModeError `unsupported` naming everything that was found. */
  finish(advice: string): void {
    if (this.masked) for (const problem of this.ifMasked) this.unsupported(...problem);
    if (this.masked && this.recurrent) for (const problem of this.ifMaskedRecurrent) this.unsupported(...problem);
    if (this.channelsFirst) for (const problem of this.ifChannelsFirst) this.unsupported(...problem);
    const { problems } = this;
    if (problems.length === 0) return;
    const listed = problems.slice(0, MOST_LISTED).join('; ');
    const more = problems.length > MOST_LISTED ? `; and ${problems.length - MOST_LISTED} more` : '';
    const classes = [...this.classes].join(', ');
    throw new TuneModeError(
      'unsupported',
      `'${this.place}' is beyond tfjs-layers 4.22.0: ${listed}${more}. Layer classes concerned: ${classes}. ${advice}`,
    );
  }
}
