import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { createNode, type Node } from 'kilovolt'
import { encodeRecord } from '../../src/model/record.ts'
import type { Actor } from '../../src/model/node-id.ts'
import { SeededRandom } from '../../src/runtime/seeded-random.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { ApplyLoop } from '../../src/storage/apply-loop.ts'
import { LevelStore } from '../../src/storage/level-store.ts'
import { createCache } from '../../src/storage/record-cache.ts'
import type { RecordKey } from '../../src/storage/record-store.ts'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'
import { Zipfian } from './zipfian.ts'

const VALUE_BYTES = 100
const PARTITIONS = 256
const AT_ONCE = 64
const ACTOR = '00000000000000aa' as Actor
const MEASURE_MS = 400

type Spread = 'uniform' | 'zipfian'

/** Which records are worked on. */
interface Load {
  readonly records: number
  order: Uint32Array
}

/** What is measured, on one store or node. */
interface Subject {
  readonly get: (i: number) => unknown
  readonly getMany: (from: number) => unknown
  readonly put: (from: number) => Promise<unknown>
  readonly hits: () => { readonly hits: number; readonly misses: number }
  readonly close: () => Promise<void>
}

/** What the cache of a disk database saves: the same work with it and without it, in turn. */
export async function benchCache(records: number, rounds: number): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'kilovolt-bench-cache-'))
  const rows: string[][] = []
  const figures: Record<string, number> = {}
  try {
    for (const [name, open] of [
      ['store', openStore],
      ['node', openNode]
    ] as const) {
      const load: Load = { records, order: drawn(records, 'uniform') }
      const bare = await open(join(folder, `${name}-bare`), load, 0)
      const cached = await open(join(folder, `${name}-cached`), load, undefined)
      for (const spread of ['uniform', 'zipfian'] as const) {
        load.order = drawn(records, spread)
        for (const work of ['get', 'getMany', 'put'] as const) {
          const found = await compared(bare, cached, work, rounds)
          const title = `${name}: ${work === 'get' ? 'get' : `${work} of ${AT_ONCE}`}, ${spread}`
          figures[`${title}, ratio`] = found.ratio
          rows.push([
            title,
            figure(found.bare),
            figure(found.cached),
            figure(found.ratio),
            `${figure(found.least)} … ${figure(found.most)}`,
            `${figure(found.hitRate * 100)} %`
          ])
        }
      }
      await bare.close()
      await cached.close()
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  const what = `µs of CPU time a record, ${records.toLocaleString('en')} of ${VALUE_BYTES} bytes on disk`
  const head = [what, 'without', 'with 32 MiB', 'ratio', 'range', 'hits']
  return { sections: [{ name: 'cache', head, rows }], figures }
}

async function compared(
  bare: Subject,
  cached: Subject,
  work: 'get' | 'getMany' | 'put',
  rounds: number
): Promise<{ bare: number; cached: number; ratio: number; least: number; most: number; hitRate: number }> {
  const times: Record<'bare' | 'cached', number[]> = { bare: [], cached: [] }
  // Once beforehand, so that what is used often is at hand, and all is compiled.
  for (const subject of [bare, cached]) await timeOf(subject, work)
  const before = cached.hits()
  for (let round = 0; round < rounds; round++) {
    const pair = [['bare', bare] as const, ['cached', cached] as const]
    for (const [name, subject] of round % 2 === 0 ? pair : pair.toReversed()) {
      times[name].push(await timeOf(subject, work))
    }
  }
  const after = cached.hits()
  const ratios = times.bare.map((time, i) => time / times.cached[i]!)
  const hits = after.hits - before.hits
  return {
    bare: median(times.bare),
    cached: median(times.cached),
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    hitRate: hits / (hits + after.misses - before.misses)
  }
}

let next = 0

/** CPU time of one record, µs: of the database's own threads as well, and none that others take. */
async function timeOf(subject: Subject, work: 'get' | 'getMany' | 'put'): Promise<number> {
  const begun = systemClock.monotonicMs()
  const cpuBefore = process.cpuUsage()
  let count = 0
  for (;;) {
    for (let i = 0; i < 16; i++) {
      const from = (next += AT_ONCE)
      if (work === 'put') await subject.put(from)
      else if (work === 'getMany') await subject.getMany(from)
      else await gets(subject, from)
      count += AT_ONCE
    }
    if (systemClock.monotonicMs() - begun < MEASURE_MS) continue
    const { user, system } = process.cpuUsage(cpuBefore)
    return (user + system) / count
  }
}

/** What is read at once is not waited for: that would cost as much as the read. */
async function gets(subject: Subject, from: number): Promise<void> {
  const waiting: unknown[] = []
  for (let i = 0; i < AT_ONCE; i++) {
    const found = subject.get(from + i)
    if (found instanceof Promise) waiting.push(found)
  }
  if (waiting.length > 0) await Promise.all(waiting)
}

function drawn(records: number, spread: Spread): Uint32Array {
  const random = new SeededRandom(1)
  const zipfian = new Zipfian(records)
  // Ranks are spread over the keys, as frequent ones are not neighbours in practice.
  const rankToKey = (rank: number): number => (rank * 7919 + 13) % records
  return Uint32Array.from({ length: 1 << 20 }, () =>
    spread === 'uniform' ? random.int(records) : rankToKey(zipfian.next(random.int(2 ** 30) / 2 ** 30))
  )
}

async function openStore(path: string, load: Load, cacheBytes: number | undefined): Promise<Subject> {
  const store = await LevelStore.open(new ClassicLevel(path))
  const cache = createCache(store, cacheBytes)
  const loop = new ApplyLoop({ store, clock: systemClock, cache })
  const value = new Uint8Array(VALUE_BYTES).fill(120)
  const { records } = load
  const keyspace = new Uint8Array(0)
  const places: RecordKey[] = Array.from({ length: records }, (_, i) => ({
    partition: i % PARTITIONS,
    keyspace,
    key: Buffer.from(keyOf(i))
  }))
  const at = (i: number): RecordKey => places[load.order[i & 0xfffff]!]!
  let hlc = 1
  const put = (chosen: readonly RecordKey[]): Promise<void> =>
    new Promise((resolve, reject) => {
      let left = chosen.length
      for (const key of chosen) {
        loop.apply(key, encodeRecord({ stamp: { hlc: ++hlc, actor: ACTOR }, value }), error => {
          if (error !== undefined) reject(error)
          else if (--left === 0) resolve()
        })
      }
    })
  for (let i = 0; i < records; i += 512) await put(places.slice(i, i + 512))
  return {
    get: i => loop.get(at(i)),
    getMany: from => loop.getMany(Array.from({ length: AT_ONCE }, (_, i) => at(from + i))),
    put: from => put(Array.from({ length: AT_ONCE }, (_, i) => at(from + i))),
    hits: () => loop.stats().cache,
    close: async () => {
      await loop.close()
      await store.close()
    }
  }
}

async function openNode(path: string, load: Load, cacheBytes: number | undefined): Promise<Subject> {
  const options = cacheBytes === undefined ? {} : { cacheBytes }
  const node: Node = await createNode({ storage: new ClassicLevel(path), replicas: 1, ...options })
  const values = node.keyspace<Uint8Array>('bench', { valueEncoding: 'view', consistency: 'one' })
  const value = new Uint8Array(VALUE_BYTES).fill(120)
  const { records } = load
  const at = (i: number): string => keyOf(load.order[i & 0xfffff]!)
  const put = (keys: readonly string[]): Promise<void> => values.batch(keys.map(key => ({ type: 'put', key, value })))
  for (let i = 0; i < records; i += 512) {
    await put(Array.from({ length: Math.min(512, records - i) }, (_, j) => keyOf(i + j)))
  }
  return {
    get: i => values.get(at(i)),
    getMany: from => values.getMany(Array.from({ length: AT_ONCE }, (_, i) => at(from + i))),
    put: from => Promise.all(Array.from({ length: AT_ONCE }, (_, i) => values.put(at(from + i), value))),
    hits: () => node.status().storage.cache,
    close: () => node.stop()
  }
}

function keyOf(i: number): string {
  return `key:${String(i).padStart(12, '0')}`
}
