import type { Profiler } from 'node:inspector/promises'
import { table } from './table.ts'

const FILES = 12
const FUNCTIONS = 18

/** Time that a process spent in its most expensive places, µs for each operation, what they call not included. */
export function costTable(title: string, profile: Profiler.Profile, operations: number): string {
  const times = selfTimesUs(profile)
  const places = profile.nodes.map(({ callFrame: { url, functionName, lineNumber } }, i) => {
    const file = shortName(url)
    return { file, name: `${file} ${functionName || `(line ${lineNumber + 1})`}`, us: times[i]! / operations }
  })
  const busy = places.filter(({ name }) => !name.endsWith('(idle)'))
  const rows = (key: 'file' | 'name', count: number): string[][] => {
    const sums = new Map<string, number>()
    for (const place of busy) sums.set(place[key], (sums.get(place[key]) ?? 0) + place.us)
    const sorted = [...sums].toSorted(([, a], [, b]) => b - a)
    return sorted.slice(0, count).map(([name, us]) => [name, us.toFixed(2)])
  }
  const total = busy.reduce((sum, { us }) => sum + us, 0)
  return table(
    [title, 'µs/op'],
    [['all', total.toFixed(2)], ...rows('file', FILES), ['', ''], ...rows('name', FUNCTIONS)]
  )
}

function selfTimesUs({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Float64Array {
  const indexes = new Map(nodes.map(({ id }, i) => [id, i]))
  const times = new Float64Array(nodes.length)
  for (const [i, id] of samples.entries()) times[indexes.get(id)!]! += timeDeltas[i]!
  return times
}

function shortName(url: string): string {
  const path = url.replace(/^file:\/\//u, '').replace(/\?.*$/u, '')
  return path.replace(/^.*\/node_modules\//u, '').replace(/^.*\/(?=(?:src|test)\/)/u, '') || '(native)'
}
