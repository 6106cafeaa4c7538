/** What became of each convolution, as data and as a table to read. */
import { table, withText } from '../../../src/report';
import type { ScaleRule } from './rules';

export interface RestoredConv {
  /** Path of the convolution in the source. */
  conv: string;
  /** Its class name, such as `Conv2D`. */
  kind: string;
  /**
   * `restored`: it has a new BatchNormalization. `recalibrated`: its own one, of which only s was known, has statistics now.
   * `already`: it had one, which stays. `skipped`: it has none.
   */
  state: 'restored' | 'recalibrated' | 'already' | 'skipped';
  /** Why it was not restored, or null. */
  reason: string | null;
  /** Path of the BatchNormalization in the result that was made or recalibrated, or null. */
  bn: string | null;
  /** Channels whose kernel is (nearly) zero, or whose output (nearly) never changes on the pictures; null where none were looked at. */
  dead: number | null;
  /** Median s of the channels; null likewise. */
  scale: number | null;
}

export interface RestoreReport {
  rule: ScaleRule;
  /** Pictures that the statistics are of. */
  pictures: number;
  /** `given`, `noise` where no pictures were given, or `none` where nothing was to be restored. */
  calibration: 'given' | 'noise' | 'none';
  convs: RestoredConv[];
  /** A table for people. */
  toString(): string;
}

export function makeRestoreReport(found: Omit<RestoreReport, 'toString'>): RestoreReport {
  return withText({ ...found }, render);
}

function render({ rule, pictures, calibration, convs }: Omit<RestoreReport, 'toString'>): string {
  const count = (state: RestoredConv['state']) => convs.filter((conv) => conv.state === state).length;
  const changed = count('restored') + count('recalibrated');
  const also = count('recalibrated') > 0 ? `, ${count('recalibrated')} recalibrated` : '';
  const on = calibration === 'noise' ? `${pictures} pictures of noise` : `${pictures} pictures`;
  const lines = [
    `restored the BatchNormalization of ${count('restored')} of ${convs.length} convolutions${also}` +
      (changed > 0 ? ` (rule '${rule}', on ${on})` : ''),
  ];
  const rows = convs.filter(({ bn }) => bn !== null);
  if (rows.length > 0) {
    lines.push(
      '',
      table(
        ['conv', 'kind', 'bn', 'state', 'median s', 'dead channels'],
        rows.map(({ conv, kind, bn, state, scale, dead }) => [
          conv,
          kind,
          bn ?? '-',
          state,
          scale === null ? '-' : scale.toPrecision(3),
          dead === null ? '-' : String(dead),
        ]),
      ),
    );
  }
  const others = convs.filter(({ bn }) => bn === null);
  if (others.length > 0) {
    lines.push(
      '',
      'left as they are',
      table(
        ['conv', 'kind', 'state', 'reason'],
        others.map(({ conv, kind, state, reason }) => [conv, kind, state, reason ?? '-']),
      ),
    );
  }
  return lines.join('\n');
}
