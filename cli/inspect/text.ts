/** What was found in a model, as tables for a terminal. */
import { table } from '../../src/report';
import type { InspectData } from './data';
import { facts, headlineOf, remarks, SAVINGS_HEAD, savingsRows } from './facts';

export function inspectText(data: InspectData): string {
  const { pairs, skipped, deploy, restore } = data;
  const { value, text } = headlineOf(data);
  const all = facts(data).map(([name, fact, remark]) => [name, fact, remark ?? '']);
  const parts = [`${value} ${text}`, columns(all), ...remarks(data)];
  if (pairs.length > 0) {
    const rows = pairs.map(({ conv, kind, bn, activation }) => [conv, kind, bn, activation ?? '-']);
    parts.push(table(['conv', 'kind', 'bn', 'activation'], rows));
  }
  if (skipped.length > 0) {
    const rows = skipped.map(({ bn, code, reason }) => [bn, code, reason]);
    parts.push(`not paired (in tune mode these behave as in eval mode)\n${table(['bn', 'code', 'reason'], rows)}`);
  }
  const left = restore?.filter(({ restored }) => !restored) ?? [];
  if (left.length > 0) {
    const rows = left.map(({ conv, reason }) => [conv, reason ?? '-']);
    parts.push(table(['not restored', 'reason'], rows));
  }
  const folded = deploy.after.length + deploy.before.length;
  const batchNorms = folded + deploy.kept.length;
  if (batchNorms > 0) {
    parts.push(
      `deploy: ${folded} of ${batchNorms} BatchNormalization layers folded away\n${table(SAVINGS_HEAD, savingsRows(data))}`,
    );
  }
  if (deploy.before.length > 0) {
    const rows = deploy.before.map(({ bn, conv, kind }) => [bn, conv, kind]);
    parts.push(table(['folded into the layer after it', 'conv', 'kind'], rows));
  }
  if (deploy.kept.length > 0) {
    const rows = deploy.kept.map(({ bn, code, reason }) => [bn, code, reason]);
    parts.push(table(['kept by deploy', 'code', 'reason'], rows));
  }
  return parts.join('\n\n');
}

/** A table without a head. */
function columns(rows: string[][]): string {
  return table(rows[0], rows.slice(1))
    .split('\n')
    .filter((_, line) => line !== 1)
    .join('\n');
}
