import { fromUtf8, utf8 } from '../base/bytes.ts'
import { isKilovoltError } from '../base/errors.ts'
import type { Causality } from '../model/causality.ts'
import type { Ring } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import { joinRecords, siblingsOf } from '../model/sibling-set.ts'
import { PnCounter, pnTotal, type PnCounts } from '../node/pn-counter.ts'
import { resolvers } from '../node/resolvers.ts'
import type { Timer } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import { dataKey } from '../storage/key-layout.ts'
import { checkSiblings, SIBLING_RULES, type SiblingOperation } from './checkers/siblings.ts'
import type { Violation } from './checkers/violation.ts'
import { intactRecord } from './rot.ts'
import type { SimDisk } from './sim-disk.ts'
import type { SimNode } from './sim-node.ts'

/** What clients do in keyspaces with siblings. */
export interface SiblingWorkloadOptions {
  readonly clients: number
  readonly keys: number
  readonly counters: number
  /** Of ten operations so many are reads, and one a deletion. */
  readonly gets: number
  /** Mean pause between two operations of a client, ms. */
  readonly pauseMs: number
  readonly timeoutMs: number
}

/** What it needs. */
export interface SiblingWorkloadDeps {
  readonly random: Random
  /** Virtual time of the world, which no fault touches. */
  readonly nowMs: () => number
  readonly after: (delayMs: number, fn: () => void) => Timer
  readonly nodes: () => readonly SimNode[]
  readonly disks: () => readonly SimDisk[]
  /** Where keys live; the same on all nodes. */
  readonly ring: () => Ring | undefined
}

interface Call {
  readonly node: SimNode
  readonly end: (outcome: 'ok' | 'unknown' | 'failed') => void
}

/** What a client knows of a key. */
interface Read {
  readonly context: Causality
  readonly seen: readonly string[]
}

const KEYSPACE = utf8('siblings')
const COUNTERS = 'counters'
const PROBLEMS_MAX = 5
/** Codes of refusals that are certain to have had no effect. */
const WITHOUT_EFFECT: readonly string[] = ['KV_NOT_JOINED', 'KV_TOO_MANY_SIBLINGS']

/** Clients that write what they have read, after a while, beside others who do the same; and count. */
export class SiblingWorkload {
  readonly #deps: SiblingWorkloadDeps
  readonly #options: SiblingWorkloadOptions
  readonly #operations: SiblingOperation[] = []
  readonly #calls = new Set<Call>()
  readonly #reads = new Map<string, Read>()
  readonly #counters = new Map<SimNode, PnCounter[]>()
  /** What was added for certain, and what may have been, by the number of the counter. */
  readonly #sums: { added: number; unknown: number }[]
  readonly #problems: Violation[] = []
  #values = 0
  #lives = 0
  #stopped = false

  constructor(deps: SiblingWorkloadDeps, options: SiblingWorkloadOptions) {
    this.#deps = deps
    this.#options = options
    this.#sums = Array.from({ length: options.counters }, () => ({ added: 0, unknown: 0 }))
  }

  get pending(): number {
    return this.#calls.size
  }

  get violations(): readonly Violation[] {
    return [...checkSiblings(this.#operations), ...this.#problems].slice(0, PROBLEMS_MAX)
  }

  start(): void {
    for (let i = 0; i < this.#options.clients; i++) this.#pause(`s${i}`)
  }

  stop(): void {
    this.#stopped = true
  }

  /** A node is gone: whoever waits for it will never know. */
  abandon(node: SimNode): void {
    for (const call of this.#calls) if (call.node === node) call.end('unknown')
    this.#counters.delete(node)
  }

  /** Looks at what the copies have come to. */
  atRest(): void {
    const ring = this.#deps.ring()
    if (ring === undefined) return
    const nowMs = this.#deps.nowMs()
    for (let i = 0; i < this.#options.keys; i++) {
      const record = this.#stored(ring, KEYSPACE, `k${i}`)
      const read = { kind: 'get', key: `k${i}`, seen: [], isQuorum: true, beganMs: nowMs, endedMs: nowMs } as const
      this.#operations.push({ ...read, outcome: 'ok', found: valuesOf(record) })
    }
    for (const [i, { added, unknown }] of this.#sums.entries()) {
      const values = valuesOf(this.#stored(ring, utf8(COUNTERS), `c${i}`)).map(text => JSON.parse(text) as PnCounts)
      const total = values.length === 0 ? 0 : pnTotal(resolvers.pnCounter(values))
      if (total >= added && total <= added + unknown) continue
      const message = `counter ${i} has come to ${total}: ${added} were added, and of ${unknown} more that is not known`
      this.#problems.push({ rule: SIBLING_RULES.counted, message })
    }
  }

  #stored(ring: Ring, keyspace: Uint8Array, key: string): RecordBytes | undefined {
    const bytes = utf8(key)
    const storeKey = dataKey(ring.partitionOf(bytes), keyspace, bytes)
    const held = this.#deps.disks().flatMap(disk => intactRecord(disk, storeKey) ?? [])
    return held.length === 0 ? undefined : held.reduce(joinRecords)
  }

  #pause(client: string): void {
    if (this.#stopped) return
    const { random, after } = this.#deps
    after(random.int(2 * this.#options.pauseMs + 1), () => this.#step(client))
  }

  #step(client: string): void {
    const { random, nodes } = this.#deps
    const up = nodes()
    if (this.#stopped || up.length === 0) return this.#pause(client)
    const node = up[random.int(up.length)]!
    if (random.chance(1, 5)) return this.#count(client, node)
    const key = `k${random.int(this.#options.keys)}`
    const draw = random.int(10)
    const kind = draw < this.#options.gets ? 'get' : draw === 9 ? 'delete' : 'put'
    const level = (['one', 'all', 'quorum', 'quorum', 'quorum', 'quorum', 'quorum', 'quorum'] as const)[random.int(8)]!
    const read = random.chance(1, 8) ? undefined : this.#reads.get(`${client} ${key}`)
    if (kind === 'delete' && read === undefined) return this.#pause(client)
    const seen = kind === 'get' ? [] : (read?.seen ?? [])
    const operation: SiblingOperation = {
      kind,
      key,
      seen,
      isQuorum: level !== 'one',
      beganMs: this.#deps.nowMs(),
      endedMs: Infinity,
      outcome: 'unknown',
      ...(kind === 'put' ? { value: `v${this.#values++}` } : {})
    }
    this.#operations.push(operation)
    const run = async (): Promise<void> => {
      const options = { requirement: level, timeoutMs: this.#options.timeoutMs, signal: undefined }
      await node.turn()
      if (kind !== 'get') {
        const value = operation.value === undefined ? undefined : utf8(operation.value)
        await node.core.data.mint(KEYSPACE, utf8(key), { value, context: read?.context }, options)
        return
      }
      const record = await node.core.data.get(KEYSPACE, utf8(key), options)
      const found = valuesOf(record)
      operation.found = found
      if (record !== undefined) this.#reads.set(`${client} ${key}`, { context: siblingsOf(record), seen: found })
    }
    this.#follow(client, node, run(), outcome => {
      operation.outcome = outcome
      operation.endedMs = outcome === 'ok' ? this.#deps.nowMs() : Infinity
    })
  }

  #count(client: string, node: SimNode): void {
    const { random } = this.#deps
    const i = random.int(this.#options.counters)
    const counter = this.#countersOf(node)[i]!
    const sum = this.#sums[i]!
    const run = async (): Promise<void> => {
      await node.turn()
      await counter.add(1, { timeoutMs: this.#options.timeoutMs })
    }
    this.#follow(client, node, run(), outcome => {
      if (outcome === 'ok') sum.added++
      else sum.unknown++
    })
  }

  /** Those who count on a node, for as long as its process lives. */
  #countersOf(node: SimNode): readonly PnCounter[] {
    const known = this.#counters.get(node)
    if (known !== undefined) return known
    const keyspace = node.node.keyspace<PnCounts>(COUNTERS, { conflicts: resolvers.pnCounter })
    const life = this.#lives++
    const made = this.#sums.map((_, i) => new PnCounter(keyspace, `c${i}`, { actor: `life ${life}` }))
    this.#counters.set(node, made)
    return made
  }

  #follow(
    client: string,
    node: SimNode,
    run: Promise<void>,
    note: (outcome: SiblingOperation['outcome']) => void
  ): void {
    const call: Call = {
      node,
      end: outcome => {
        if (!this.#calls.delete(call)) return
        note(outcome)
        this.#pause(client)
      }
    }
    this.#calls.add(call)
    run.then(
      () => call.end('ok'),
      (error: unknown) => {
        if (!isKilovoltError(error)) throw error
        const isCertain = WITHOUT_EFFECT.includes(error.code) || error.details['outcome'] === 'not-executed'
        call.end(isCertain ? 'failed' : 'unknown')
      }
    )
  }
}

function valuesOf(record: RecordBytes | undefined): string[] {
  return record === undefined ? [] : siblingsOf(record).siblings.map(({ value }) => fromUtf8(value))
}
