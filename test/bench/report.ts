import { median } from './measure.ts'
import { figure, pageTable } from './table.ts'

/** A table of the bench, and of the page, in the place of that name. */
export interface Section {
  readonly name: string
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** What one part of the bench found. */
export interface Report {
  readonly sections: readonly Section[]
  /** The same by name, for comparing revisions. */
  readonly figures: Readonly<Record<string, number>>
}

/** The table of a section. */
export function formatSection({ head, rows }: Section): string {
  return pageTable(head, rows)
}

/** A ratio as it was found in each round, and what is wanted of it. */
interface Ratio {
  readonly name: string
  readonly wanted: { readonly least: number } | { readonly most: number } | undefined
  readonly unit: string
  readonly values: number[]
  readonly of: [number, number][]
}

/** Ratios that are measured again in each round. */
export class Ratios {
  readonly #ratios = new Map<string, Ratio>()

  /** Adds a round's pair: a ratio of kilovolt's figure to that of its limit. */
  add(name: string, wanted: Ratio['wanted'], kilovolt: number, limit: number): void {
    const ratio = this.#ratioOf(name, wanted, '')
    ratio.values.push(kilovolt / limit)
    ratio.of.push([kilovolt, limit])
  }

  /** Adds a figure that is wanted, or shown, by itself. */
  addFigure(name: string, wanted: Ratio['wanted'], value: number, unit: string): void {
    this.#ratioOf(name, wanted, unit).values.push(value)
  }

  report(): Report {
    const rows = [...this.#ratios.values()].map(({ name, wanted, unit, values, of }) => {
      const middle = median(values)
      return [
        name,
        of.length === 0 ? '' : `${figure(median(of.map(([a]) => a)))} / ${figure(median(of.map(([, b]) => b)))}`,
        `${figure(middle)}${unit}`,
        `${figure(Math.min(...values))} … ${figure(Math.max(...values))}`,
        String(values.length),
        ...judge(middle, wanted, unit)
      ]
    })
    const head = ['what', 'medians of both', 'median', 'range', 'rounds', 'wanted', 'reached']
    const figures = Object.fromEntries([...this.#ratios.values()].map(({ name, values }) => [name, median(values)]))
    return { sections: [{ name: 'ratios', head, rows }], figures }
  }

  #ratioOf(name: string, wanted: Ratio['wanted'], unit: string): Ratio {
    let ratio = this.#ratios.get(name)
    if (ratio === undefined) this.#ratios.set(name, (ratio = { name, wanted, unit, values: [], of: [] }))
    return ratio
  }
}

function judge(value: number, wanted: Ratio['wanted'], unit: string): [wanted: string, reached: string] {
  if (wanted === undefined) return ['', '']
  const isReached = 'least' in wanted ? value >= wanted.least : value <= wanted.most
  const bound = 'least' in wanted ? `≥ ${wanted.least}` : `≤ ${wanted.most}`
  return [`${bound}${unit}`, isReached ? 'yes' : 'no']
}
