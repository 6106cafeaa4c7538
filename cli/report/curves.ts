/** The curves of a run. */
import type { EpochRecord } from '../../src/fine-tune/history';
import { closeAxis, epochAxis, lossAxis, rateAxis, shareAxis } from './axis';
import { percent, precise, rate } from './format';
import type { LineChart, Series } from './line-chart';
import type { RunReport } from './run-report';
import { bestRecord } from './summary';

const EPOCHS = 'epoch (0: the head alone)';

export function lossCurves(report: RunReport): LineChart {
  return epochChart(
    report,
    'Loss',
    'loss',
    ({ loss }) => loss,
    ({ valLoss }) => valLoss,
    precise,
    lossAxis,
  );
}

export function accuracyCurves(report: RunReport): LineChart {
  const [train, val] = [(record: EpochRecord) => record.accuracy, (record: EpochRecord) => record.valAccuracy];
  return epochChart(report, 'Accuracy', 'accuracy', train, val, (share) => percent(share), shareAxis);
}

/** The curve of the range test; null where the learning rate was given. */
export function rateCurve({ rateTest, learningRate }: RunReport): LineChart | null {
  if (rateTest === null || rateTest.length === 0) return null;
  const tried = rateTest.filter((point) => point.learningRate > 0 && Number.isFinite(point.learningRate));
  const isShown = learningRate > 0 && Number.isFinite(learningRate);
  const points = tried.map(({ learningRate: x, loss: y }) => ({ x, y, label: `${rate(x)}: loss ${precise(y)}` }));
  const losses = tried.map(({ loss }) => loss).filter(Number.isFinite);
  const ends = [tried[0], tried[tried.length - 1]].filter(Boolean).map((point) => rate(point.learningRate));
  return {
    title: 'Loss while the rate grows',
    description: `${tried.length} rates were tried${ends.length > 0 ? `, from ${ends[0]} to ${ends[1]}` : ''}; ${rate(learningRate)} was chosen.`,
    x: rateAxis([...tried.map(({ learningRate: x }) => x), ...(isShown ? [learningRate] : [])]),
    xTitle: 'learning rate (logarithmic)',
    y: closeAxis(losses),
    series: [{ name: 'loss', kind: 'val', points }],
    mark: isShown ? { x: learningRate, label: `chosen: ${rate(learningRate)}` } : null,
  };
}

/** Values that no curve can show, in words; none in a sound run. */
export function gaps({ history }: RunReport): string[] {
  const isBroken = (value: number | null) => value !== null && !Number.isFinite(value);
  return history.flatMap(({ epoch, loss, valLoss, accuracy, valAccuracy }) => [
    ...(isBroken(loss) || isBroken(accuracy) ? [`training in epoch ${epoch}`] : []),
    ...(isBroken(valLoss) || isBroken(valAccuracy) ? [`validation after epoch ${epoch}`] : []),
  ]);
}

function epochChart(
  report: RunReport,
  title: string,
  quantity: string,
  train: (record: EpochRecord) => number | null,
  val: (record: EpochRecord) => number,
  format: (value: number | null) => string,
  axis: (values: readonly number[]) => LineChart['y'],
): LineChart {
  const { history } = report;
  const best = bestRecord(report);
  const label = (name: string, { epoch }: EpochRecord, y: number | null) =>
    `${epoch === 0 ? 'head alone' : `epoch ${epoch}`}, ${name}: ${format(y)}`;
  const trained = history.filter((record) => train(record) !== null);
  const series: Series[] = [
    {
      name: 'training',
      kind: 'train',
      points: trained.map((record) => ({
        x: record.epoch,
        y: train(record),
        label: label('training', record, train(record)),
      })),
    },
    {
      name: 'validation',
      kind: 'val',
      points: history.map((record) => ({
        x: record.epoch,
        y: val(record),
        label: label('validation', record, val(record)),
      })),
    },
  ];
  const values = series.flatMap(({ points }) =>
    points.flatMap(({ y }) => (y !== null && Number.isFinite(y) ? [y] : [])),
  );
  const name = best && (best.epoch === 0 ? 'the head alone' : `epoch ${best.epoch}`);
  return {
    title,
    description: best
      ? `Validation ${quantity} after each of ${history.length} epochs, with the head alone first. Best: ${name}, with ${format(val(best))}.`
      : 'No epoch came to its end.',
    x: epochAxis(history[history.length - 1]?.epoch ?? 0),
    xTitle: EPOCHS,
    y: axis(values),
    series: trained.length > 0 ? series : series.slice(1),
    mark:
      best && Number.isFinite(val(best))
        ? {
            x: best.epoch,
            label: `${best.epoch === 0 ? 'best: head alone,' : `best epoch ${best.epoch}:`} ${quantity} ${format(val(best))}`,
          }
        : null,
  };
}
