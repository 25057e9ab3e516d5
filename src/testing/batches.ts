import { fromUtf8, utf8 } from '../base/bytes.ts'
import { isKilovoltError } from '../base/errors.ts'
import type { ConsistencyLevel } from '../model/quorum.ts'
import type { Ring } from '../model/partition.ts'
import { type RecordBytes, recordValue } from '../model/record.ts'
import { type Random, shuffle } from '../runtime/random.ts'
import type { Timer } from '../runtime/clock.ts'
import { dataKey } from '../storage/key-layout.ts'
import type { History, Operation } from './checkers/history.ts'
import { checkUnits } from './checkers/units.ts'
import type { Violation } from './checkers/violation.ts'
import { intactRecord } from './rot.ts'
import type { SimDisk } from './sim-disk.ts'
import type { SimNode } from './sim-node.ts'

/** What clients do that write batches within hash tags. */
export interface BatchesOptions {
  /** When they begin, ms. */
  readonly atMs: number
  /** Each has one batch under way at a time. */
  readonly clients: number
  readonly tags: number
  readonly keysPerTag: number
  /** Mean pause between two batches of a client, ms. */
  readonly pauseMs: number
  readonly timeoutMs: number
  /**
   * Whether nothing but batches and hints reaches the copies, so that none may show a part of one at any moment. Else they
   * are looked at when all is at rest: what mends copies works record by record.
   */
  readonly isStrict: boolean
}

/** What batches need. */
export interface BatchesDeps {
  readonly random: Random
  readonly history: History
  readonly after: (delayMs: number, fn: () => void) => Timer
  readonly nodes: () => readonly SimNode[]
  readonly disks: () => readonly { readonly name: string; readonly disk: SimDisk }[]
  /** Where keys live; the same on all nodes. */
  readonly ring: () => Ring | undefined
}

interface Call {
  readonly node: SimNode
  readonly operations: readonly Operation[]
  readonly next: () => void
}

/** How often all disks are looked at, ms. */
const LOOK_EVERY_MS = 10
const PROBLEMS_MAX = 5

/** Clients that write several keys of one hash tag at once, without end, and look for batches of which a part is seen. */
export class Batches {
  readonly options: BatchesOptions
  readonly #deps: BatchesDeps
  readonly #calls = new Set<Call>()
  /** The keys that each batch has written, by its value. */
  readonly #units = new Map<string, readonly string[]>()
  readonly #problems: Violation[] = []
  #stopped = false
  #mended = false

  constructor(deps: BatchesDeps, options: BatchesOptions) {
    this.#deps = deps
    this.options = options
  }

  get startAtMs(): number {
    return this.options.atMs
  }

  get keys(): readonly string[] {
    return Array.from({ length: this.options.tags }, (_, tag) => this.#keysOf(tag)).flat()
  }

  get pending(): number {
    return this.#calls.size
  }

  get violations(): readonly Violation[] {
    return this.#problems.slice(0, PROBLEMS_MAX)
  }

  start(): void {
    for (let i = 0; i < this.options.clients; i++) this.#pause(`b${i}`)
    if (this.options.isStrict) this.#watch()
  }

  stop(): void {
    this.#stopped = true
  }

  /** From here on keys are read at a majority, which mends them one by one: disks are looked at when that is done. */
  mends(): void {
    this.#mended = true
  }

  /** A node is gone: whoever waits for it will never know. What is left on its disk must be whole all the same. */
  abandon(node: SimNode): void {
    if (this.options.isStrict && !this.#mended) this.atRest()
    for (const call of this.#calls) {
      if (call.node !== node) continue
      this.#calls.delete(call)
      call.next()
    }
  }

  /** Looks at what lies on each disk now. */
  atRest(): void {
    const ring = this.#deps.ring()
    if (ring === undefined) return
    for (const { name, disk } of this.#deps.disks()) {
      for (let tag = 0; tag < this.options.tags; tag++) {
        const held = new Map<string, RecordBytes>()
        for (const key of this.#keysOf(tag)) {
          const bytes = utf8(key)
          const record = intactRecord(disk, dataKey(ring.partitionOf(bytes), new Uint8Array(0), bytes))
          if (record !== undefined) held.set(key, record)
        }
        const found = checkUnits({ where: `the disk of ${name}`, held }, textOf, value => this.#units.get(value))
        this.#problems.push(...found)
      }
    }
  }

  #watch(): void {
    if (this.#mended) return
    this.atRest()
    if (this.#problems.length < PROBLEMS_MAX) this.#deps.after(LOOK_EVERY_MS, () => this.#watch())
  }

  #keysOf(tag: number): string[] {
    return Array.from({ length: this.options.keysPerTag }, (_, i) => `{tag${tag}}:${i}`)
  }

  #pause(client: string): void {
    if (this.#stopped) return
    const { random, after } = this.#deps
    after(random.int(2 * this.options.pauseMs + 1), () => this.#step(client))
  }

  #step(client: string): void {
    const { random, nodes } = this.#deps
    const up = nodes()
    if (this.#stopped || up.length === 0) return this.#pause(client)
    const node = up[random.int(up.length)]!
    const tag = random.int(this.options.tags)
    if (this.options.isStrict && random.chance(1, 4)) {
      void this.#read(node, tag).then(
        () => this.#pause(client),
        (error: unknown) => {
          if (!isKilovoltError(error)) throw error
          this.#pause(client)
        }
      )
      return
    }
    const keys = shuffle(random, this.#keysOf(tag)).slice(0, 2 + random.int(this.options.keysPerTag - 1))
    const level = (['one', 'any', 'all', 'quorum', 'quorum', 'quorum'] as const)[random.int(6)]!
    void this.#write(client, node, keys, level)
  }

  /** What this node holds itself, at one moment, as an app sees it that reads at `one`. */
  async #read(node: SimNode, tag: number): Promise<void> {
    const { core, name } = node
    const partition = core.ring.partitionOf(utf8(this.#keysOf(tag)[0]!))
    const isOwner = core.cluster.topology?.rows[partition]?.slots.includes(core.storeId) === true
    if (!isOwner || !core.records.readsAtOnce) return
    const keys = this.#keysOf(tag).map(utf8)
    const options = { requirement: 'one', timeoutMs: this.options.timeoutMs, signal: undefined } as const
    const { results } = await core.data.getMany(new Uint8Array(0), keys, options)
    const held = new Map<string, RecordBytes>()
    for (const [i, key] of this.#keysOf(tag).entries()) {
      // A deletion is not seen by who reads: then nothing can be said of the units that it may be of.
      if (results[i] === undefined) return
      held.set(key, results[i])
    }
    this.#problems.push(...checkUnits({ where: `a read on ${name}`, held }, textOf, value => this.#units.get(value)))
  }

  async #write(client: string, node: SimNode, keys: readonly string[], level: ConsistencyLevel): Promise<void> {
    const { random, history } = this.#deps
    const { timeoutMs } = this.options
    const value = `unit ${this.#units.size}`
    this.#units.set(value, keys)
    // One operation at least says by its value which unit it is of.
    const deletes = keys.map((_, i) => i > 0 && random.chance(1, 8))
    // No more is promised of what is kept here for whoever owns it than of what one copy has.
    const promise = level === 'any' ? 'one' : level
    const operations = keys.map((key, i) =>
      deletes[i] === true
        ? history.begin({ client, kind: 'delete', key, level: promise })
        : history.begin({ client, kind: 'put', key, level: promise, value })
    )
    const call: Call = { node, operations, next: () => this.#pause(client) }
    this.#calls.add(call)
    const outcome = await node
      .batch(
        keys.map((key, i) => (deletes[i] === true ? { type: 'del', key } : { type: 'put', key, value })),
        level,
        timeoutMs
      )
      .then(
        () => 'ok' as const,
        (error: unknown) => {
          if (isKilovoltError(error)) return 'unknown' as const
          throw error
        }
      )
    if (!this.#calls.delete(call)) return
    for (const operation of operations) {
      if (outcome === 'ok') history.acknowledged(operation)
      else history.refused(operation, outcome)
    }
    call.next()
  }
}

function textOf(record: RecordBytes): string | undefined {
  const value = recordValue(record)
  return value === undefined ? undefined : (JSON.parse(fromUtf8(value)) as string)
}
