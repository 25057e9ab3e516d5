import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { createNode, type Keyspace, type Node } from 'kilovolt'
import { pause } from '../../src/runtime/clock.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'

interface Row {
  readonly email: string
  readonly age: number
  readonly city: string
  readonly note: string
}

const AT_ONCE = 64
const MEASURE_MS = 400
/** Records that have the same city. */
const PER_CITY = 100
const NOTE = 'x'.repeat(60)

const INDEXES = {
  byEmail: (row: Row): string => row.email,
  byAge: (row: Row): number => row.age,
  byCity: (row: Row): string => row.city
}
const NAMES = ['byEmail', 'byAge', 'byCity'] as const

type Rows = Keyspace<Row>

/**
 * What indexes cost where they are written, on one node on disk: puts of keyspaces with none, one and three of them, in turn, of
 * values of which one indexed field changes; and what they save where they are asked, beside a scan with a filter.
 */
export async function benchIndexes(records: number, rounds: number): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'kilovolt-bench-indexes-'))
  const node = await createNode({ storage: new ClassicLevel(join(folder, 'node')) })
  try {
    const spaces = [0, 1, 3].map(count => ({ count, rows: opened(node, count) }))
    for (const { rows } of spaces) await fill(rows, records)
    while (node.status().indexes.some(({ state }) => state !== 'ready')) await pause(systemClock, 50)
    const puts = await putCosts(spaces, records, rounds)
    const [none] = puts
    const table: string[][] = []
    const figures: Record<string, number> = {}
    for (const { count, times } of puts) {
      const ratios = times.map((time, i) => time / none!.times[i]!)
      const name = `put, ${AT_ONCE} at once, ${count} ${count === 1 ? 'index' : 'indexes'}, µs of CPU time`
      table.push([name, figure(median(times)), count === 0 ? '' : figure(median(ratios))])
      if (count > 0) figures[`put with ${count} ÷ with none`] = median(ratios)
    }
    const { rows } = spaces[2]!
    const found = async (name: string, ask: () => Promise<number>, wanted: number): Promise<void> => {
      const times: number[] = []
      for (let round = 0; round < rounds; round++) times.push(await timeOf(ask, wanted))
      table.push([`${name}, ms`, figure(median(times)), ''])
      figures[name] = median(times)
    }
    const query = async (index: string, equals: string): Promise<number> =>
      (await rows.query(index, { equals }).all()).length
    await found('query of one record by equality', () => query('byEmail', mailOf(drawn(records))), 1)
    await found(`query of ${PER_CITY} by equality`, () => query('byCity', cityOf(drawn(records))), PER_CITY)
    await found('getMany of as many, by their keys', () => many(rows, records), PER_CITY)
    const city = cityOf(0)
    await found(`scan of all, which finds ${PER_CITY}`, () => filtered(rows, city), PER_CITY)
    const head = [`${records.toLocaleString('en')} records of about 120 bytes, one node on disk`, 'found', '÷ none']
    return { sections: [{ name: 'indexes', head, rows: table }], figures }
  } finally {
    await node.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

function opened(node: Node, count: number): Rows {
  const some = Object.fromEntries(NAMES.slice(0, count).map(name => [name, INDEXES[name]]))
  return node.keyspace<Row>(`rows${count}`, { consistency: 'quorum', indexes: some })
}

async function fill(rows: Rows, records: number): Promise<void> {
  for (let from = 0; from < records; from += 1000) {
    await rows.batch(
      Array.from({ length: Math.min(1000, records - from) }, (_, i) => ({
        type: 'put' as const,
        key: keyOf(from + i),
        value: rowOf(from + i, 0)
      }))
    )
  }
}

async function putCosts(
  spaces: readonly { readonly count: number; readonly rows: Rows }[],
  records: number,
  rounds: number
): Promise<readonly { readonly count: number; readonly times: readonly number[] }[]> {
  const times = spaces.map((): number[] => [])
  for (const { rows } of spaces) await putTime(rows, records)
  for (let round = 0; round < rounds; round++) {
    const order = [...spaces.entries()]
    for (const [i, { rows }] of round % 2 === 0 ? order : order.toReversed())
      times[i]!.push(await putTime(rows, records))
  }
  return spaces.map(({ count }, i) => ({ count, times: times[i]! }))
}

/** CPU time of one put, µs. */
async function putTime(rows: Rows, records: number): Promise<number> {
  const begun = systemClock.monotonicMs()
  const before = process.cpuUsage()
  let count = 0
  while (systemClock.monotonicMs() - begun < MEASURE_MS) {
    await Promise.all(
      Array.from({ length: AT_ONCE }, () => {
        const i = drawn(records)
        return rows.put(keyOf(i), rowOf(i, ++turn))
      })
    )
    count += AT_ONCE
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / count
}

/** How long one takes, ms. */
async function timeOf(ask: () => Promise<number>, wanted: number): Promise<number> {
  const begun = systemClock.monotonicMs()
  for (let count = 1; ; count++) {
    const found = await ask()
    if (found !== wanted) throw new Error(`${found} were found, and not ${wanted}`)
    const passed = systemClock.monotonicMs() - begun
    if (passed >= MEASURE_MS) return passed / count
  }
}

async function many(rows: Rows, records: number): Promise<number> {
  const from = drawn(records - PER_CITY)
  return (await rows.getMany(Array.from({ length: PER_CITY }, (_, i) => keyOf(from + i)))).filter(Boolean).length
}

async function filtered(rows: Rows, city: string): Promise<number> {
  let found = 0
  for await (const page of rows.values().pages()) found += page.filter(row => row.city === city).length
  return found
}

let turn = 0
let seed = 1

/** A number below another, always in the same order. */
function drawn(below: number): number {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff
  return seed % below
}

function keyOf(i: number): string {
  return `key-${String(i).padStart(8, '0')}`
}

function mailOf(i: number): string {
  return `user-${i}@example.com`
}

function cityOf(i: number): string {
  return `city ${Math.floor(i / PER_CITY)}`
}

function rowOf(i: number, age: number): Row {
  return { email: mailOf(i), age, city: cityOf(i), note: NOTE }
}
