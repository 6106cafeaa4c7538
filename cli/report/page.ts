/** A page that needs nothing besides itself: no network, no script, no font. */
import { Markup, markup, type Part } from './markup';
import { PAGE_STYLE } from './page-style';

/** Nothing may be fetched, and no script may run, whatever a name in it contains. */
const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/** @param style rules besides those that every page has. */
export function page(title: string, body: Part, style = ''): string {
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${new Markup(PAGE_STYLE)}${new Markup(style)}</style>
</head>
<body>
<main>
${body}</main>
</body>
</html>
`.text;
}
