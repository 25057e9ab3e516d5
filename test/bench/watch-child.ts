// One process of the bench of watches: a node, driven over IPC by `watch.ts`.
import { createNode, type Keyspace, type Node, type Watch } from 'kilovolt'

/** What the parent asks for. */
export type WatchCommand =
  | { readonly kind: 'start'; readonly bootstrap: readonly string[] }
  | { readonly kind: 'settled' }
  | { readonly kind: 'watch'; readonly watchers: number }
  | { readonly kind: 'put'; readonly changes: number; readonly inFlight: number }
  | { readonly kind: 'told'; readonly changes: number }

/** What it answers, by the kind of the command. */
export interface WatchAnswers {
  readonly start: readonly string[]
  readonly settled: undefined
  readonly watch: undefined
  /** What a put took, ms: the median; and puts in a second. */
  readonly put: { readonly p50Ms: number; readonly perSecond: number }
  readonly told: Told
}

/** What the watchers of a process have been told. */
export interface Told {
  /** From the beginning of a put to its event, ms: the median of one watcher's. */
  readonly p50Ms: number
  /** The least that any watcher has heard of. */
  readonly least: number
  /** Resets: times that one has fallen behind. */
  readonly resets: number
  /** Events in a second, of all watchers together. */
  readonly perSecond: number
}

/** One watcher, and what it has heard of. */
class Audience {
  readonly watch: Watch<string> = keyspace().watch({ buffer: BUFFER })
  resets = 0
  readonly #keys = new Set<string>()
  #wanted = Infinity
  #enough: () => void = () => {}

  /** Changed keys that it was told of. */
  get heard(): number {
    return this.#keys.size
  }

  /** Resolves when it has been told of so many. */
  hears(wanted: number): Promise<void> {
    return new Promise(resolve => {
      this.#wanted = wanted
      this.#enough = resolve
      if (this.heard >= wanted) resolve()
    })
  }

  async listen(isTimed: boolean): Promise<void> {
    for await (const event of this.watch) {
      if (event.type === 'reset') this.resets++
      if (event.type !== 'put') continue
      lastMs = nowMs()
      if (events++ === 0) firstMs = lastMs
      if (isTimed) delaysMs.push(lastMs - Number(event.value))
      if (this.#keys.add(event.key).size === this.#wanted) this.#enough()
    }
  }
}

/** What has not come when nothing has come for so long is lost, ms. */
const SILENCE_MS = 15_000
const LOOK_EVERY_MS = 500
const BUFFER = 100_000

let node: Node | undefined
let audiences: Audience[] = []
let delaysMs: number[] = []
let firstMs = 0
let lastMs = 0
let events = 0

function keyspace(): Keyspace<string> {
  return node!.keyspace<string>('watched', { valueEncoding: 'utf8' })
}

/** The same clock in all processes of a machine. */
function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

async function watch(watchers: number): Promise<void> {
  for (const { watch: earlier } of audiences) earlier.close()
  delaysMs = []
  events = 0
  audiences = Array.from({ length: watchers }, () => new Audience())
  await Promise.all(audiences.map(audience => audience.watch.ready))
  // What ends one ends the process, and with it the bench.
  for (const [i, audience] of audiences.entries()) void audience.listen(i === 0)
}

async function put(changes: number, inFlight: number): Promise<WatchAnswers['put']> {
  const tookMs: number[] = []
  let at = 0
  const startMs = nowMs()
  const worker = async (): Promise<void> => {
    while (at < changes) {
      const key = `key-${String(at++).padStart(12, '0')}`
      const beginMs = nowMs()
      await keyspace().put(key, String(beginMs))
      tookMs.push(nowMs() - beginMs)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  return { p50Ms: median(tookMs), perSecond: (changes / (nowMs() - startMs)) * 1000 }
}

async function told(changes: number): Promise<Told> {
  const all = Promise.all(audiences.map(audience => audience.hears(changes))).then(() => true)
  const startMs = nowMs()
  for (;;) {
    const look = new Promise<boolean>(resolve => setTimeout(() => resolve(false), LOOK_EVERY_MS))
    if ((await Promise.race([all, look])) || nowMs() - Math.max(startMs, lastMs) >= SILENCE_MS) break
  }
  return {
    p50Ms: median(delaysMs),
    least: Math.min(...audiences.map(({ heard }) => heard)),
    resets: audiences.reduce((sum, { resets }) => sum + resets, 0),
    perSecond: (events / Math.max(1, lastMs - firstMs)) * 1000
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

async function answer(command: WatchCommand): Promise<WatchAnswers[WatchCommand['kind']]> {
  switch (command.kind) {
    case 'start':
      node = await createNode({ bootstrap: command.bootstrap })
      return node.addresses
    case 'settled':
      return node!.settled() as Promise<undefined>
    case 'watch':
      return (await watch(command.watchers)) as undefined
    case 'put':
      return put(command.changes, command.inFlight)
    case 'told':
      return told(command.changes)
  }
}

process.on('message', (command: WatchCommand) => {
  // What rejects ends the process, and with it the bench.
  void answer(command).then(result => process.send!({ answer: result }))
})
process.on('disconnect', () => process.exit())
