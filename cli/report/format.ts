/** Numbers as people read them. What is not there, or not finite, is a dash. */

export const NONE = '–';

type Numeric = number | null | undefined;

function format(value: Numeric, text: (value: number) => string): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : text(value);
}

/** `0.947` → `94.7%`. Only what is complete is 100%, and only nothing is 0%. */
export function percent(share: Numeric, decimals = 1): string {
  return format(share, (value) => {
    if (value === 0 || value === 1) return `${100 * value}%`;
    const least = 10 ** -decimals;
    if (value > 0 && value < 1) {
      const rounded = Math.round((100 * value) / least) * least;
      if (rounded < least / 2) return `<${least.toFixed(decimals)}%`;
      if (rounded > 100 - least / 2) return `${(100 - least).toFixed(decimals)}%`;
    }
    return `${(100 * value).toFixed(decimals)}%`;
  });
}

/** Three digits, such as a loss needs. */
export function precise(value: Numeric): string {
  return format(value, (number) => {
    const size = Math.abs(number);
    if (size !== 0 && (size >= 1e5 || size < 1e-3)) return exponential(number, 2);
    return size >= 100 ? number.toFixed(0) : size >= 10 ? number.toFixed(1) : number.toFixed(3);
  });
}

/** A learning rate as it is typed: `1e-3`, `2.5e-4`, `0.05`. */
export function rate(value: Numeric): string {
  return format(value, (number) => {
    const size = Math.abs(number);
    return size !== 0 && size < 0.01 ? exponential(number, 1) : String(Number(number.toPrecision(2)));
  });
}

function exponential(value: number, digits: number): string {
  return value.toExponential(digits).replace(/\.?0*e\+?/, 'e');
}

/** `12,345` */
export function whole(value: Numeric): string {
  return format(value, (number) => Math.round(number).toLocaleString('en'));
}

/** `1 picture`, `12 pictures` */
export function count(value: number, noun: string): string {
  return `${whole(value)} ${noun}${value === 1 ? '' : noun.endsWith('s') ? 'es' : 's'}`;
}

export function milliseconds(value: Numeric): string {
  return format(value, (ms) =>
    ms >= 9950 ? duration(ms / 1000) : ms >= 10 ? `${whole(ms)} ms` : `${ms.toFixed(1)} ms`,
  );
}

/** `8.3 s`, `4 min 12 s`, `1 h 30 min` */
export function duration(seconds: Numeric): string {
  return format(seconds, (value) => {
    if (value < 59.95) return `${value.toFixed(1)} s`;
    const rounded = Math.round(value);
    if (rounded < 3600) return `${Math.floor(rounded / 60)} min ${rounded % 60} s`;
    const minutes = Math.round(value / 60);
    return `${whole(Math.floor(minutes / 60))} h ${minutes % 60} min`;
  });
}

/** `412 MB`, `1.2 GB` */
export function bytes(value: Numeric): string {
  return format(value, (size) => {
    if (size < 1e6) return `${(size / 1e3).toFixed(0)} kB`;
    return size < 999.5e6 ? `${(size / 1e6).toFixed(size < 1e7 ? 1 : 0)} MB` : `${(size / 1e9).toFixed(1)} GB`;
  });
}

/** An ISO date without what nobody reads: `2026-01-31 14:05 UTC`. Anything else stays as it is. */
export function dateTime(date: string): string {
  return date.replace(
    /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)[\d:.]*(Z?)$/,
    (_, day, time, zone) => `${day} ${time}${zone && ' UTC'}`,
  );
}
