import { createDeferred, type Deferred } from '../base/deferred.ts'
import { isKilovoltError } from '../base/errors.ts'
import type { Random } from '../runtime/random.ts'
import type { Timer } from '../runtime/clock.ts'
import type { History, Operation } from './checkers/history.ts'
import type { Violation } from './checkers/violation.ts'
import type { KeyRange } from '../node/keyspace.ts'
import type { SimNode } from './sim-node.ts'

/** What clients that scan do. */
export interface ScanWorkloadOptions {
  /** Number of clients, each with one scan under way. */
  readonly clients: number
  /** Greatest number of entries that are fetched at a time. */
  readonly pageSizeMax: number
  /** Mean pause between two pages, ms. */
  readonly pauseMs: number
  /** Deadline of a page, ms. */
  readonly timeoutMs: number
}

/** What it needs. */
export interface ScanWorkloadDeps {
  readonly random: Random
  readonly history: History
  /** Virtual time of the world, which no fault touches. */
  readonly after: (delayMs: number, fn: () => void) => Timer
  /** The nodes that can be asked now. */
  readonly nodes: () => readonly SimNode[]
  /** All keys there may be. */
  readonly keys: readonly string[]
}

/** What a scan is to find: everything, or a part. */
interface Form {
  readonly bounds: KeyRange
  readonly isWanted: (key: string) => boolean
  readonly limit: number
  /** Keys alone; else with their values. */
  readonly keysOnly: boolean
}

/** A scan, from its beginning on one node to its end on perhaps another. */
interface Tour extends Form {
  readonly level: 'one' | 'quorum' | 'all'
  readonly reverse: boolean
  readonly found: (readonly [key: string, value: string | undefined])[]
  token: string | undefined
}

/** A scan on one node. */
interface Visit {
  readonly node: SimNode
  readonly isOver: Deferred<'gone'>
}

/**
 * Clients that scan the whole keyspace, or a part of it, in both directions and at all levels, and change the node in the midst of it: by
 * choice, because a page failed, or because the node is gone. A scan counts as a read of each key that lasts as long as the scan: so
 * a key that was there throughout must be among what it returns, and one that was deleted before it began must not.
 */
export class ScanWorkload {
  readonly #deps: ScanWorkloadDeps
  readonly #options: ScanWorkloadOptions
  /** Draws what scans look for. */
  readonly #forms: Random
  readonly #visits = new Set<Visit>()
  readonly violations: Violation[] = []
  #stopped = false

  constructor(deps: ScanWorkloadDeps, options: ScanWorkloadOptions) {
    this.#deps = deps
    this.#forms = deps.random.fork('forms')
    this.#options = options
  }

  start(): void {
    for (let i = 0; i < this.#options.clients; i++) void this.#run(`scanner-${i}`)
  }

  /** What is under way is given up. */
  stop(): void {
    this.#stopped = true
    for (const { isOver } of this.#visits) isOver.resolve('gone')
  }

  /** A node is gone: whoever waits for it will never know, and goes on with another. */
  abandon(node: SimNode): void {
    for (const visit of this.#visits) if (visit.node === node) visit.isOver.resolve('gone')
  }

  async #run(client: string): Promise<void> {
    const { random, history, keys } = this.#deps
    while (!this.#stopped) {
      const level = (['one', 'quorum', 'quorum', 'quorum', 'all'] as const)[random.int(5)]!
      const tour: Tour = { ...this.#form(), level, reverse: random.chance(1, 2), found: [], token: undefined }
      const reads = keys.filter(tour.isWanted).map(key => history.begin({ client, kind: 'get', key, level }))
      let isDone = false
      while (!isDone && !this.#stopped) {
        await this.#pause()
        isDone = await this.#visit(tour)
      }
      if (isDone) this.#judge(client, tour, reads)
    }
  }

  /** In half of all cases a part: between two keys, or with a prefix; at times so many entries at most, at times no values. */
  #form(): Form {
    const { keys } = this.#deps
    const random = this.#forms
    const limit = random.chance(1, 4) ? 1 + random.int(keys.length) : Infinity
    const keysOnly = random.chance(1, 4)
    const [a, b] = [keys[random.int(keys.length)]!, keys[random.int(keys.length)]!]
    const [low, high] = a < b ? [a, b] : [b, a]
    const kind = random.int(6)
    if (kind === 0)
      return { bounds: { gte: low, lt: high }, isWanted: key => key >= low && key < high, limit, keysOnly }
    if (kind === 1)
      return { bounds: { gt: low, lte: high }, isWanted: key => key > low && key <= high, limit, keysOnly }
    const prefix = kind === 2 ? a.slice(0, -1) : undefined
    if (prefix === undefined) return { bounds: {}, isWanted: () => true, limit, keysOnly }
    return { bounds: { prefix }, isWanted: key => key.startsWith(prefix), limit, keysOnly }
  }

  /** Scans on at one node; whether it has come to the end. */
  async #visit(tour: Tour): Promise<boolean> {
    const { random } = this.#deps
    const up = this.#deps.nodes()
    if (up.length === 0) return false
    const node = up[random.int(up.length)]!
    const visit: Visit = { node, isOver: createDeferred<'gone'>() }
    this.#visits.add(visit)
    try {
      await Promise.race([node.turn(), visit.isOver.promise])
      return node.isUp && !this.#stopped && (await this.#pages(tour, visit))
    } catch (error) {
      if (!isKilovoltError(error)) throw error
      return false
    } finally {
      this.#visits.delete(visit)
    }
  }

  async #pages(tour: Tour, { node, isOver }: Visit): Promise<boolean> {
    const { random } = this.#deps
    const { timeoutMs, pageSizeMax } = this.#options
    const { level, reverse, token, found, bounds, limit, keysOnly } = tour
    const pageSize = 1 + random.int(pageSizeMax)
    const after = token === undefined ? {} : { after: token }
    const most = limit === Infinity ? {} : { limit: limit - found.length }
    const options = { consistency: level, reverse, pageSize, timeoutMs, ...bounds, ...after, ...most }
    const scan = keysOnly ? node.node.keys(options) : node.node.entries(options)
    const pages: AsyncIterableIterator<(string | [string, unknown])[], undefined> = scan.pages()
    try {
      for (let left = 1 + random.int(12); left > 0; left--) {
        const page = await Promise.race([pages.next(), isOver.promise])
        if (page === 'gone') return false
        if (page.done === true) return true
        for (const entry of page.value)
          found.push(typeof entry === 'string' ? [entry, undefined] : [entry[0], entry[1] as string])
        tour.token = scan.token
        await this.#pause()
        if (!node.isUp || this.#stopped) return false
      }
      return false
    } finally {
      void scan.return()
    }
  }

  #judge(client: string, tour: Tour, reads: readonly Operation[]): void {
    const { found, reverse, level, isWanted, limit, keysOnly } = tour
    const stray = found.find(([key]) => !isWanted(key))
    if (stray !== undefined || found.length > limit)
      this.violations.push({
        rule: 'scans return what they were asked for',
        message: `${client} was given ${found.length} entries, of ${limit} at most, and among them ${stray?.[0]}`
      })
    for (const [i, [key]] of found.entries()) {
      const before = found[i - 1]?.[0]
      if (before === undefined || (reverse ? key < before : key > before)) continue
      this.violations.push({
        rule: 'scans return keys in order, none twice',
        message: `${client} at ${level}${reverse ? ' in reverse' : ''} was given ${key} after ${before}`
      })
    }
    const values = new Map(found)
    // Nothing is said of what lies beyond the last entry of a limit, nor of values that were not asked for.
    const last = found.length >= limit ? found.at(-1)![0] : undefined
    for (const read of reads) {
      const isPassed = last === undefined || (reverse ? read.key >= last : read.key <= last)
      if (isPassed && !(keysOnly && values.has(read.key)))
        this.#deps.history.returned(read, values.get(read.key), undefined)
    }
  }

  #pause(): Promise<void> {
    const { random, after } = this.#deps
    return new Promise(resolve => {
      after(random.int(2 * this.#options.pauseMs + 1), resolve)
    })
  }
}
