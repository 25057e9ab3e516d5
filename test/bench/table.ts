/** Lines of a table with aligned columns, for the terminal. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const { line, widths } = layOut(head, rows)
  return [
    line(head, '  '),
    widths.map(width => '─'.repeat(width)).join('  '),
    ...rows.map(row => line(row, '  '))
  ].join('\n')
}

/** The same as a table of Markdown: for a page, and as well for the terminal. The first column is text, the others figures. */
export function pageTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const { line, widths } = layOut(head, rows)
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')
  return [line(head, ' | '), rule, ...rows.map(row => line(row, ' | '))].map(text => `| ${text} |`).join('\n')
}

function layOut(
  head: readonly string[],
  rows: readonly (readonly string[])[]
): { line: (cells: readonly string[], between: string) => string; widths: readonly number[] } {
  const widths = head.map((title, i) => Math.max(3, title.length, ...rows.map(row => row[i]!.length)))
  const line = (cells: readonly string[], between: string): string =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(between)
  return { line, widths }
}

/** A number with as many digits as are of use. */
export function figure(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en')
  if (value >= 100) return value.toFixed(0)
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}
