import { createDeferred, type Deferred } from '../base/deferred.ts'
import { isKilovoltError } from '../base/errors.ts'
import type { IndexMatch, Keyspace } from '../node/keyspace.ts'
import type { Random } from '../runtime/random.ts'
import type { Timer } from '../runtime/clock.ts'
import type { Violation } from './checkers/violation.ts'
import { entriesProblem } from './index-entries.ts'
import type { SimNode } from './sim-node.ts'

/** What clients that query an index do. */
export interface IndexWorkloadOptions {
  /** Number of clients, each with one query under way. */
  readonly clients: number
  /** Greatest number of matches that are fetched at a time. */
  readonly pageSizeMax: number
  /** Mean pause between two pages, ms. */
  readonly pauseMs: number
  /** Deadline of a page, ms. */
  readonly timeoutMs: number
  /** How long after its start the app of a node opens the keyspace, at most, ms. */
  readonly opensWithinMs: number
}

/** What it needs. */
export interface IndexWorkloadDeps {
  readonly random: Random
  /** Virtual time of the world, which no fault touches. */
  readonly after: (delayMs: number, fn: () => void) => Timer
  /** The nodes that can be asked now. */
  readonly nodes: () => readonly SimNode[]
}

type Indexed = Keyspace<string, string, string, 'byRest'>

/** A query on one node. */
interface Visit {
  readonly node: SimNode
  readonly isOver: Deferred<'gone'>
}

/** The rule that queries are checked by. */
export const INDEX_RULE = 'a query finds what has its value, and nothing else'

/** How often it is looked whether a node has to open the keyspace, or has built its index, ms. */
const LOOK_EVERY_MS = 40
/** Looks within which a node at rest has built its index. */
const LOOKS_MAX = 2000

/** Values are whole numbers as text: each is found by two values of the index. */
function byRest(value: string): readonly (number | string)[] {
  return [Number(value) % 7, `third ${Number(value) % 3}`]
}

/**
 * Clients that query an index of what the others write, while copies move and nodes restart, some of which open the keyspace
 * only after a while. Whatever is found has the value that it was found by, in order, none twice. When all is at rest a
 * query finds exactly what a scan does, from every node, and each disk holds the entries of its records and no others.
 */
export class IndexWorkload {
  readonly #deps: IndexWorkloadDeps
  readonly #options: IndexWorkloadOptions
  readonly #visits = new Set<Visit>()
  readonly #opened = new WeakMap<SimNode, Indexed>()
  readonly #waiting = new WeakSet<SimNode>()
  readonly violations: Violation[] = []
  #stopped = false

  constructor(deps: IndexWorkloadDeps, options: IndexWorkloadOptions) {
    this.#deps = deps
    this.#options = options
  }

  start(): void {
    this.#look()
    for (let i = 0; i < this.#options.clients; i++) void this.#run(`asker-${i}`)
  }

  /** What is under way is given up. */
  stop(): void {
    this.#stopped = true
    for (const { isOver } of this.#visits) isOver.resolve('gone')
  }

  /** A node is gone: whoever waits for it will never know. */
  abandon(node: SimNode): void {
    for (const visit of this.#visits) if (visit.node === node) visit.isOver.resolve('gone')
  }

  /** Compares what is found with what is there. */
  async compare(): Promise<void> {
    for (const node of this.#deps.nodes()) this.#open(node)
    for (const node of this.#deps.nodes()) await this.#built(node)
    for (const node of this.#deps.nodes()) await this.#compareAt(node)
    for (const { name, core, machine } of this.#deps.nodes()) {
      const problem = entriesProblem(machine.disk, core.config.partitions, value => byRest(value as string))
      if (problem !== undefined) this.#report(`${name} ${problem}`)
    }
  }

  #look(): void {
    if (this.#stopped) return
    const { random, after, nodes } = this.#deps
    for (const node of nodes()) {
      if (this.#waiting.has(node)) continue
      this.#waiting.add(node)
      after(random.int(this.#options.opensWithinMs + 1), () => {
        if (node.isUp && !this.#stopped) this.#open(node)
      })
    }
    after(LOOK_EVERY_MS, () => this.#look())
  }

  #open(node: SimNode): Indexed {
    let keyspace = this.#opened.get(node)
    if (keyspace === undefined) {
      keyspace = node.node.keyspace('', { indexes: { byRest } })
      this.#opened.set(node, keyspace)
    }
    return keyspace
  }

  async #run(client: string): Promise<void> {
    while (!this.#stopped) {
      await this.#pause()
      await this.#visit(client)
    }
  }

  async #visit(client: string): Promise<void> {
    const { random } = this.#deps
    const up = this.#deps.nodes().filter(node => this.#opened.has(node))
    if (up.length === 0) return
    const node = up[random.int(up.length)]!
    const visit: Visit = { node, isOver: createDeferred<'gone'>() }
    this.#visits.add(visit)
    try {
      await Promise.race([node.turn(), visit.isOver.promise])
      if (node.isUp && !this.#stopped) await this.#ask(client, visit)
    } catch (error) {
      if (!isKilovoltError(error)) throw error
    } finally {
      this.#visits.delete(visit)
    }
  }

  async #ask(client: string, { node, isOver }: Visit): Promise<void> {
    const { random } = this.#deps
    const { timeoutMs, pageSizeMax } = this.#options
    const consistency = (['one', 'quorum', 'quorum'] as const)[random.int(3)]!
    const reverse = random.chance(1, 2)
    const bounds = [
      { equals: random.int(7) },
      { gte: 2, lt: 5 },
      { equals: `third ${random.int(3)}` },
      { prefix: 'th' },
      {}
    ]
    const pageSize = 1 + random.int(pageSizeMax)
    const query = this.#opened
      .get(node)!
      .query('byRest', { ...bounds[random.int(bounds.length)]!, consistency, reverse, pageSize, timeoutMs })
    const pages = query.pages()
    const found: IndexMatch<string>[] = []
    try {
      for (;;) {
        const page = await Promise.race([pages.next(), isOver.promise])
        if (page === 'gone' || page.done === true) return
        found.push(...page.value)
        this.#judge(client, found, reverse)
        await this.#pause()
        if (!node.isUp || this.#stopped) return
      }
    } finally {
      void query.return()
    }
  }

  #judge(client: string, found: readonly IndexMatch<string>[], reverse: boolean): void {
    for (const [i, { key, value, index }] of found.entries()) {
      if (!byRest(value).includes(index as never)) {
        this.#report(`${client} was given ${key}, whose value ${value} has nothing of ${String(index)}`)
      }
      const before = found[i - 1]
      if (before === undefined) continue
      const order = compareMatches(before, found[i]!)
      if (reverse ? order > 0 : order < 0) continue
      this.#report(`${client} was given ${key} by ${String(index)} after ${before.key} by ${String(before.index)}`)
    }
  }

  async #built(node: SimNode): Promise<void> {
    for (let looks = 0; looks < LOOKS_MAX; looks++) {
      if (node.node.status().indexes.every(({ state }) => state === 'ready')) return
      await new Promise<void>(resolve => {
        this.#deps.after(LOOK_EVERY_MS, resolve)
      })
    }
    this.#report(`${node.name} has not built its index: ${JSON.stringify(node.node.status().indexes)}`)
  }

  async #compareAt(node: SimNode): Promise<void> {
    const users = this.#open(node)
    const wanted: string[] = []
    for (const [key, value] of await users.entries().all()) {
      for (const index of byRest(value)) wanted.push(`${String(index)} ${key}`)
    }
    const found = (await users.query('byRest').all()).map(({ key, index }) => `${String(index)} ${key}`)
    const missing = wanted.filter(name => !found.includes(name))
    const extra = found.filter(name => !wanted.includes(name))
    if (missing.length + extra.length === 0 && found.length === wanted.length) return
    this.#report(
      `at rest ${node.name} finds ${found.length} where ${wanted.length} are; it misses ${missing.slice(0, 3).join(', ')}, and finds ${extra.slice(0, 3).join(', ')}`
    )
  }

  #report(message: string): void {
    this.violations.push({ rule: INDEX_RULE, message })
  }

  #pause(): Promise<void> {
    const { random, after } = this.#deps
    return new Promise(resolve => {
      after(random.int(2 * this.#options.pauseMs + 1), resolve)
    })
  }
}

/** Numbers before text, then by the key. */
function compareMatches(a: IndexMatch<string>, b: IndexMatch<string>): number {
  const [x, y] = [a, b].map(({ index, key }) => `${typeof index === 'number' ? 0 : 1}${String(index)} ${key}`)
  return x! < y! ? -1 : x === y ? 0 : 1
}
