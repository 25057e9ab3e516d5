// One process of the bench of scans: a node, or bare databases, driven over IPC by `scan.ts`.
import { MemoryLevel } from 'memory-level'
import { createNode, type Keyspace, type Node } from 'kilovolt'
import { OpenLoop } from './open-loop.ts'

/** How a whole keyspace is scanned. */
export interface ScanWay {
  readonly level: 'one' | 'quorum'
  readonly what: 'keys' | 'entries'
  /** Entry by entry, or page by page. */
  readonly by: 'entry' | 'page'
}

/** How far the one scan of everything has come that is gone on with again and again. */
export interface ScannedSoFar {
  readonly keys: number
  readonly isDone: boolean
  /** Entries that were not the ones that had to come next, as the records were filled in. */
  readonly wrong: number
  /** Seconds it has taken, without those for looking at the memory. */
  readonly seconds: number
  /** Most bytes in use, after collecting garbage, beyond what there was before it began. */
  readonly held: number
}

/** What the parent asks for. */
export type ScanCommand =
  | { readonly kind: 'start'; readonly bootstrap: readonly string[] }
  | { readonly kind: 'settled' }
  | { readonly kind: 'fill'; readonly records: number }
  | { readonly kind: 'scan'; readonly way: ScanWay; readonly seconds: number }
  | { readonly kind: 'scanOn'; readonly keys: number }
  | { readonly kind: 'epoch' }
  | { readonly kind: 'watchMemory' }
  | { readonly kind: 'heldMemory' }
  | { readonly kind: 'heldByScan' }
  | { readonly kind: 'load'; readonly perSecond: number }
  | { readonly kind: 'p99' }
  | { readonly kind: 'unload' }
  | { readonly kind: 'bareDatabases'; readonly records: number }

/** What it answers, by the kind of the command. */
export interface ScanAnswers {
  readonly start: readonly string[]
  readonly settled: undefined
  readonly fill: undefined
  /** Keys a second. */
  readonly scan: number
  readonly scanOn: ScannedSoFar
  /** Of the topology that it knows. */
  readonly epoch: number
  readonly watchMemory: undefined
  /** Most bytes in use beyond what there was when watching began. */
  readonly heldMemory: number
  /** The same, of this process while it scans, collecting garbage all the time. */
  readonly heldByScan: number
  readonly load: undefined
  /** Of the load since it was asked last, ms. */
  readonly p99: number
  readonly unload: undefined
  /** Keys a second of three bare databases merged. */
  readonly bareDatabases: number
}

const VALUE = new Uint8Array(100).fill(118)
const AT_ONCE = 2000
const LOADED_KEYS = 1000
/** To collect garbage takes a node as long as some pages. */
const WATCH_EVERY_MS = 2000
const COLLECT_EVERY = 8
const PAGE_TIMEOUT_MS = 60_000
const LOOK_EVERY_KEYS = 50_000

let node: Node | undefined
let load: OpenLoop<'get' | 'put'> | undefined
let watching: { readonly timer: NodeJS.Timeout; readonly before: number; most: number } | undefined

function keyspace(): Keyspace<Uint8Array> {
  return node!.keyspace<Uint8Array>('scanned', { valueEncoding: 'view' })
}

function nameOf(i: number): string {
  return `key-${String(i).padStart(12, '0')}`
}

async function fill(records: number): Promise<void> {
  for (let i = 0; i < records; i += AT_ONCE) {
    const count = Math.min(AT_ONCE, records - i)
    await keyspace().batch(
      Array.from({ length: count }, (_, k) => ({ type: 'put' as const, key: nameOf(i + k), value: VALUE }))
    )
  }
}

/** Scans from the beginning again and again for so long, at least once. */
async function scan({ level, what, by }: ScanWay, seconds: number): Promise<number> {
  const options = { consistency: level, timeoutMs: PAGE_TIMEOUT_MS }
  const startMs = performance.now()
  let count = 0
  do {
    const scanned = what === 'keys' ? keyspace().keys(options) : keyspace().entries(options)
    if (by === 'page') for await (const page of scanned.pages()) count += page.length
    else for await (const _ of scanned) count++
  } while (performance.now() - startMs < seconds * 1000)
  return count / ((performance.now() - startMs) / 1000)
}

/** Bytes in use after everything that can be collected has been. */
function bytesInUse(): number {
  for (let i = 0; i < 2; i++) globalThis.gc!()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

function watchMemory(): void {
  const before = bytesInUse()
  const timer = setInterval(() => {
    if (watching !== undefined) watching.most = Math.max(watching.most, bytesInUse() - before)
  }, WATCH_EVERY_MS)
  watching = { timer, before, most: 0 }
}

function heldMemory(): number {
  clearInterval(watching!.timer)
  return watching!.most
}

async function heldByScan(): Promise<number> {
  const before = bytesInUse()
  let most = 0
  let pages = 0
  for await (const page of keyspace().entries({ timeoutMs: PAGE_TIMEOUT_MS }).pages()) {
    if (page.length > 0 && ++pages % COLLECT_EVERY === 2) most = Math.max(most, bytesInUse() - before)
  }
  return most
}

let tour:
  { readonly pages: AsyncIterator<[string, Uint8Array][]>; readonly before: number; at: ScannedSoFar } | undefined

/** Goes on with the one scan of everything until it has come so far, or to the end; looks at the memory now and then. */
async function scanOn(keys: number): Promise<ScannedSoFar> {
  tour ??= {
    pages: keyspace().entries({ timeoutMs: PAGE_TIMEOUT_MS }).pages(),
    before: bytesInUse(),
    at: { keys: 0, isDone: false, wrong: 0, seconds: 0, held: 0 }
  }
  while (tour.at.keys < keys) {
    const startMs = performance.now()
    const { value: page, done } = await tour.pages.next()
    let { keys: count, wrong } = tour.at
    for (const [key] of page ?? []) if (key !== nameOf(count++)) wrong++
    const seconds = tour.at.seconds + (performance.now() - startMs) / 1000
    const isLook = Math.floor(count / LOOK_EVERY_KEYS) > Math.floor(tour.at.keys / LOOK_EVERY_KEYS)
    const held = isLook ? Math.max(tour.at.held, bytesInUse() - tour.before) : tour.at.held
    tour.at = { keys: count, isDone: done === true, wrong, seconds, held }
    if (done === true) break
  }
  return tour.at
}

async function startLoad(perSecond: number): Promise<void> {
  const loaded = node!.keyspace<Uint8Array>('loaded', { valueEncoding: 'view' })
  const key = (i: number): string => nameOf(i % LOADED_KEYS)
  for (let i = 0; i < LOADED_KEYS; i++) await loaded.put(key(i), VALUE)
  load = new OpenLoop(perSecond, { get: i => loaded.get(key(i)), put: i => loaded.put(key(i), VALUE) }, ['get', 'put'])
}

function p99(): number {
  const { get, put } = load!.take()
  if (get.failed + put.failed > 0) throw new Error(get.failure ?? put.failure)
  return Math.max(get.p99Us, put.p99Us) / 1000
}

/** Three databases with a third of the records each, merged by one process. */
async function bareDatabases(records: number): Promise<number> {
  const view = { keyEncoding: 'view', valueEncoding: 'view' } as const
  const databases = Array.from({ length: 3 }, () => new MemoryLevel<Uint8Array, Uint8Array>(view))
  for (let i = 0; i < records; i++) await databases[i % 3]!.put(Buffer.from(nameOf(i)), VALUE)
  const startMs = performance.now()
  const sources = databases.map(database => ({
    iterator: database.iterator(),
    rows: [] as [Uint8Array, Uint8Array][],
    at: 0
  }))
  let count = 0
  for (;;) {
    let first: (typeof sources)[number] | undefined
    for (const source of sources) {
      if (source.at === source.rows.length) {
        source.rows = await source.iterator.nextv(1000)
        source.at = 0
      }
      if (source.rows.length === 0) continue
      if (first === undefined || Buffer.compare(source.rows[source.at]![0], first.rows[first.at]![0]) < 0)
        first = source
    }
    if (first === undefined) break
    first.at++
    count++
  }
  const perSecond = count / ((performance.now() - startMs) / 1000)
  for (const database of databases) await database.close()
  return perSecond
}

async function perform(command: ScanCommand): Promise<unknown> {
  switch (command.kind) {
    case 'start':
      node = await createNode({ cluster: 'bench', bootstrap: command.bootstrap, warmUpMs: 0 })
      return node.addresses
    case 'settled':
      return node!.settled({ timeoutMs: 60_000 })
    case 'fill':
      return fill(command.records)
    case 'scan':
      return scan(command.way, command.seconds)
    case 'scanOn':
      return scanOn(command.keys)
    case 'epoch':
      return node!.status().epoch
    case 'watchMemory':
      return watchMemory()
    case 'heldMemory':
      return heldMemory()
    case 'heldByScan':
      return heldByScan()
    case 'load':
      return startLoad(command.perSecond)
    case 'p99':
      return p99()
    case 'unload':
      return load?.stop()
    case 'bareDatabases':
      return bareDatabases(command.records)
  }
}

process.on('message', (command: ScanCommand) => {
  // What rejects ends the process, and with it the bench.
  void perform(command).then(answer => process.send!({ answer }))
})
process.on('disconnect', () => process.exit())
