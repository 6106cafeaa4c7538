import fc from 'fast-check';
import { learningRateAt } from '../../src/fine-tune/schedule';

const ratesOf = (steps: number, peak: number) =>
  Array.from({ length: steps }, (_, step) => learningRateAt(step, steps, peak));

test.each([
  [1, 0.1],
  [2, 0.1],
  [10, 1],
  [100, 1e-3],
  [999, 3],
])('%i steps up to %f: grows to the peak, then falls to nearly 0', (steps, peak) => {
  const rates = ratesOf(steps, peak);
  const top = rates.indexOf(Math.max(...rates));
  // Warm-up and cosine meet in the peak itself.
  expect(rates[top]).toBeCloseTo(peak, 14);
  for (let i = 1; i <= top; i++) expect(rates[i]).toBeGreaterThan(rates[i - 1]);
  // The cosine begins at its top, so that the peak may stand twice.
  for (let i = top + 2; i < steps; i++) expect(rates[i]).toBeLessThan(rates[i - 1]);
  // Last step at progress (n − 1) / n of n steps of cosine: (1 + cos(π (n − 1) / n)) / 2 < (π / 2n)².
  const n = steps - Math.max(1, Math.round(steps / 10));
  if (n > 1) expect(rates[steps - 1]).toBeLessThanOrEqual(peak * (Math.PI / (2 * n)) ** 2);
});

test('of any length: never 0 or below, never above the peak, never no number', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3000 }), fc.double({ min: 1e-8, max: 100, noNaN: true }), (steps, peak) => {
      const rates = ratesOf(steps, peak);
      // peak · n / n rounds twice.
      return rates.every((rate) => rate > 0 && rate <= peak * (1 + 2 ** -51));
    }),
    { numRuns: 50 },
  );
});

test('beyond the end the rate stays at 0, and does not rise again', () => {
  for (const step of [100, 101, 150, 300]) expect(learningRateAt(step, 100, 1)).toBeLessThan(1e-15);
});

test('the rate is in proportion to the peak', () => {
  // Powers of two scale without rounding.
  ratesOf(57, 1).forEach((rate, step) => {
    expect(learningRateAt(step, 57, 0.25)).toBe(0.25 * rate);
  });
});
