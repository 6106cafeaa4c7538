/** What a step in Tune mode should cost, as ratios inside of one process. */
import { table } from '../src/report';
import type { BenchMode } from './subjects';

export interface Figures {
  /** Milliseconds per step and peak bytes; a mode that fails is missing. */
  ms: Partial<Record<BenchMode, number>>;
  peaks: Partial<Record<BenchMode, number>>;
  floor: { ms: number; bytes: number };
  /** One Eval step on tfjs's cpu backend, if it was measured. */
  cpuEvalMs: number | null;
}

export interface Goal {
  figure: string;
  /** The largest allowed. */
  goal: number;
  /** Null where it was not measured, or a mode fails. */
  measured: number | null;
  reached: boolean | null;
}

export function goalsOf({ ms, peaks, floor, cpuEvalMs }: Figures): Goal[] {
  const goal = (figure: string, most: number, a: number | null | undefined, b: number | null | undefined): Goal => {
    const measured = a == null || b == null ? null : a / b;
    return { figure, goal: most, measured, reached: measured === null ? null : measured <= most };
  };
  return [
    goal('Tune step / roofline time', 2.5, ms.tune, floor.ms),
    goal('Tune peak / floor', 1.3, peaks.tune, floor.bytes),
    goal('Tune with recompute, peak / floor', 0.8, peaks['tune+recompute'], floor.bytes),
    goal('Tune / Eval step time', 0.7, ms.tune, ms.eval),
    goal('Tune / Eval peak', 0.45, peaks.tune, peaks.eval),
    goal('Tune / Deploy step time', 1.03, ms.tune, ms.deploy),
    goal(CPU_FIGURE, 1 / 200, ms.tune, cpuEvalMs),
  ];
}

const CPU_FIGURE = 'wasm Tune / cpu backend Eval step time';

export function goalTable(goals: Goal[]): string {
  // Small ratios read better as fractions.
  const ratio = (value: number) => (value < 0.02 ? `1/${(1 / value).toFixed(0)}` : value.toFixed(value < 10 ? 2 : 0));
  const rows = goals.map(({ figure, goal, measured, reached }) => [
    figure,
    measured === null ? (figure === CPU_FIGURE ? 'add --cpu' : 'fails') : ratio(measured),
    `≤ ${ratio(goal)}`,
    reached === null ? '–' : reached ? 'yes' : 'NO',
  ]);
  rows.push(['step time against batch and picture size', 'npm run bench:scaling', 'linear', '–']);
  return table(['figure', 'measured', 'goal', 'reached'], rows);
}
