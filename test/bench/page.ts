import { cpus } from 'node:os'
import { formatSection, type Report } from './report.ts'

/**
 * The page with new figures in it. The text is written by hand, on the page; what stands between
 * `<!-- figures: name -->` and `<!-- end -->` is replaced by the section of that name, or by what the machine is.
 *
 * @throws Error when a section has no place on the page
 */
export function renewPage(page: string, reports: readonly Report[]): string {
  let renewed = page
  for (const { sections } of reports) {
    for (const section of sections)
      renewed = replace(renewed, section.name, `${machine()}\n\n${formatSection(section)}`)
  }
  return renewed
}

function replace(page: string, name: string, text: string): string {
  const begin = `<!-- figures: ${name} -->`
  const from = page.indexOf(begin)
  const to = page.indexOf('<!-- end -->', from)
  if (from < 0 || to < 0) throw new Error(`the page has no place for "${name}"`)
  return `${page.slice(0, from)}${begin}\n\n${text}\n\n${page.slice(to)}`
}

/** What matters of the machine, and nothing that names it. */
function machine(): string {
  const cores = cpus().length
  return `Node.js ${process.versions.node}, ${cores} ${cores === 1 ? 'core' : 'cores'}, ${process.arch}:`
}
