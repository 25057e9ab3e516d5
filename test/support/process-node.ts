import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { MemberInfo, NodeOptions, NodeStatus, RingShare, StopAdvice } from 'kilovolt'
import { forkCompiled } from './compiled.ts'
import type { LoadReport } from './counter-load.ts'

/** Options that can travel over IPC; `folder` stands for a classic-level database. */
export type ChildOptions = Pick<
  NodeOptions,
  | 'cluster'
  | 'listen'
  | 'replicas'
  | 'secret'
  | 'weight'
  | 'zone'
  | 'durability'
  | 'requestTimeoutMs'
  | 'joinTimeoutMs'
  | 'evictAfterMs'
  | 'warmUpMs'
  | 'gcGraceMs'
  | 'purgeIntervalMs'
  | 'expect'
> & {
  readonly bootstrap?: readonly string[]
  readonly folder?: string
  /** How far in the past a round of purging settles, which is no option of a node. */
  readonly purgeLagMs?: number
}

/** A call to the child. */
export interface ChildCall {
  readonly id: number
  readonly method:
    | 'detour'
    | 'setDisk'
    | 'start'
    | 'put'
    | 'get'
    | 'getMany'
    | 'batch'
    | 'scan'
    | 'scanOn'
    | 'members'
    | 'status'
    | 'shares'
    | 'owners'
    | 'settled'
    | 'safeToStop'
    | 'leave'
    | 'stop'
    | 'startLoad'
    | 'loadReport'
    | 'stopLoad'
  readonly args: readonly unknown[]
}

/** What the child sends. */
export type FromChild =
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | {
      readonly kind: 'error'
      readonly id: number
      readonly message: string
      readonly code: string | undefined
      readonly details: unknown
    }
  | { readonly kind: 'event'; readonly name: string; readonly about: string; readonly at: number }
  | { readonly kind: 'acknowledged'; readonly acknowledged: [string, number][] }

/** An event that the child's node emitted, with the machine's time. */
export interface SeenEvent {
  readonly name: string
  readonly about: string
  readonly at: number
}

/** The error of a call to a child, with the code of the error there. */
export class ChildError extends Error {
  readonly code: string | undefined
  readonly details: unknown
  constructor(message: string, code: string | undefined, details: unknown) {
    super(message)
    this.code = code
    this.details = details
  }
}

const CALL_TIMEOUT_MS = 60_000
const LOOK_EVERY_MS = 20

/** A node in a real process that can be killed, stopped and continued. */
export class ProcessNode {
  readonly #child: ChildProcess
  readonly #calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  readonly events: SeenEvent[] = []
  /** Last acknowledged count of each key of its load, kept here so that it outlives the process. */
  readonly acknowledged = new Map<string, number>()
  #next = 1
  id = ''
  addresses: readonly string[] = []
  /** The machine's time at which `createNode` resolved there. */
  startedAt = 0

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#child.on('message', message => this.#receive(message as FromChild))
    this.#child.on('exit', () => {
      for (const { reject } of this.#calls.values())
        reject(new ChildError('the process has ended', undefined, undefined))
      this.#calls.clear()
    })
  }

  /** A process whose node is not started yet. */
  static async spawn(): Promise<ProcessNode> {
    const node = new ProcessNode(await forkCompiled('test/support/process-node-child.js'))
    await once(node.#child, 'spawn')
    return node
  }

  /** @param detours - ports to connect to instead of others */
  static async start(options: ChildOptions = {}, detours?: Readonly<Record<number, number>>): Promise<ProcessNode> {
    const node = await ProcessNode.spawn()
    if (detours !== undefined) await node.call('detour', detours)
    await node.start(options)
    return node
  }

  async start(options: ChildOptions = {}): Promise<void> {
    const started = (await this.call('start', options)) as { id: string; addresses: readonly string[]; at: number }
    this.id = started.id
    this.addresses = started.addresses
    this.startedAt = started.at
  }

  call(method: ChildCall['method'], ...args: unknown[]): Promise<unknown> {
    const id = this.#next++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#calls.delete(id)
        reject(new ChildError(`${method} took longer than ${CALL_TIMEOUT_MS} ms`, undefined, undefined))
      }, CALL_TIMEOUT_MS)
      this.#calls.set(id, {
        resolve: value => {
          clearTimeout(timer)
          resolve(value)
        },
        reject: error => {
          clearTimeout(timer)
          reject(error)
        }
      })
      const message: ChildCall = { id, method, args }
      if (!this.#child.connected || !this.#child.send(message)) {
        if (!this.#child.connected)
          this.#calls.get(id)?.reject(new ChildError('the process has ended', undefined, undefined))
      }
    })
  }

  members(): Promise<MemberInfo[]> {
    return this.call('members') as Promise<MemberInfo[]>
  }

  status(): Promise<NodeStatus> {
    return this.call('status') as Promise<NodeStatus>
  }

  shares(): Promise<RingShare[]> {
    return this.call('shares') as Promise<RingShare[]>
  }

  settled(timeoutMs = 30_000): Promise<unknown> {
    return this.call('settled', timeoutMs)
  }

  safeToStop(): Promise<StopAdvice> {
    return this.call('safeToStop') as Promise<StopAdvice>
  }

  startLoad(
    prefix: string,
    keys: number,
    workers: number,
    consistency: 'one' | 'quorum' | 'all' = 'quorum',
    retryForMs = 0
  ): Promise<unknown> {
    return this.call('startLoad', prefix, keys, workers, consistency, retryForMs)
  }

  /** What the load has done so far. */
  loadReport(): Promise<LoadReport> {
    return this.call('loadReport') as Promise<LoadReport>
  }

  stopLoad(): Promise<LoadReport> {
    return this.call('stopLoad') as Promise<LoadReport>
  }

  /** Ends the process with a signal, SIGKILL unless another is named; resolves when it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill(signal)
    await gone
  }

  /** Stops the world in that process, without its knowing. */
  freeze(): void {
    this.#child.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child.kill('SIGCONT')
  }

  #receive(message: FromChild): void {
    switch (message.kind) {
      case 'result':
        this.#calls.get(message.id)?.resolve(message.value)
        this.#calls.delete(message.id)
        break
      case 'error':
        this.#calls.get(message.id)?.reject(new ChildError(message.message, message.code, message.details))
        this.#calls.delete(message.id)
        break
      case 'event':
        this.events.push(message)
        break
      case 'acknowledged':
        for (const [key, count] of message.acknowledged) this.acknowledged.set(key, count)
        break
    }
  }
}

/** Waits for a condition, looking every {@link LOOK_EVERY_MS}; the deadline makes a hang a failure with a name. */
export async function until<T>(
  what: string,
  withinMs: number,
  probe: () => Promise<T | undefined> | T | undefined
): Promise<T> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const value = await probe()
    if (value !== undefined && value !== false) return value
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    // Between two looks at another process, of whose state nothing tells this one.
    await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS))
  }
}

/** Every count that any process was acknowledged is read back at quorum, or a later one. */
export async function assertAllThere(reader: ProcessNode, writers: readonly ProcessNode[]): Promise<void> {
  const expected = writers.flatMap(({ acknowledged }) => [...acknowledged])
  const found = (await reader.call(
    'getMany',
    expected.map(([key]) => key)
  )) as (number | null | undefined)[]
  const missing = expected.filter(([, count], i) => (found[i] ?? 0) < count)
  assert.deepEqual(missing, [], `of ${expected.length}`)
}
