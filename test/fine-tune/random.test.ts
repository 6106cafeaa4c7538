import { seededRandom, shuffled } from '../../src/random';

const draw = (key: string, count: number) => {
  const random = seededRandom(key);
  return Array.from({ length: count }, random);
};

test('the same key gives the same numbers, another key others', () => {
  expect(draw('0:epoch:1', 5)).toEqual(draw('0:epoch:1', 5));
  expect(draw('0:epoch:1', 5)).not.toEqual(draw('0:epoch:2', 5));
  expect(draw('0:epoch:11', 5)).not.toEqual(draw('01:epoch:1', 5));
});

test('the numbers are fixed for all time, so that old seeds keep their meaning', () => {
  expect(shuffled([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], '0:epoch:0')).toEqual([3, 9, 0, 8, 4, 6, 5, 2, 1, 7]);
});

test('the numbers are spread evenly and do not follow each other', () => {
  const numbers = draw('seed', 10000);
  const bins = new Array(10).fill(0);
  for (const number of numbers) bins[Math.floor(number * 10)]++;
  for (const count of bins) expect(Math.abs(count - 1000)).toBeLessThan(150); // five standard deviations of 30
  const correlation = numbers.slice(1).reduce((sum, x, i) => sum + (x - 0.5) * (numbers[i] - 0.5), 0) / numbers.length;
  expect(Math.abs(correlation)).toBeLessThan(0.005); // six of 1/12/100
});

test('every place is equally likely for every item, over keys that differ in one digit', () => {
  const counts = [0, 1, 2, 3].map(() => [0, 0, 0, 0]);
  for (let epoch = 0; epoch < 2000; epoch++) {
    shuffled([0, 1, 2, 3], `7:epoch:${epoch}`).forEach((item, place) => {
      counts[item][place]++;
    });
  }
  for (const count of counts.flat()) expect(Math.abs(count - 500)).toBeLessThan(100); // five of 19.4
});

test('the given list stays as it is', () => {
  const items = Object.freeze(['a', 'b', 'c']);
  expect([...shuffled(items, 'k')].sort()).toEqual(['a', 'b', 'c']);
  expect(items).toEqual(['a', 'b', 'c']);
  expect(shuffled([], 'k')).toEqual([]);
});
