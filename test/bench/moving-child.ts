// One process of the benches of transfers and repairs: a node, driven over IPC by `moving.ts` and `growing.ts`.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { ClassicLevel } from 'classic-level'
import { MemoryLevel } from 'memory-level'
import { createNode, type Keyspace, type Node, type NodeStatus, type RepairReport } from 'kilovolt'
import { silentLogger } from '../../src/runtime/logger.ts'
import type { Measurement } from './measure.ts'
import { Clients } from './clients.ts'
import { OpenLoop } from './open-loop.ts'

/** What one kind of request took within a window; what failed is counted as if it had been answered when it failed. */
interface LoadFigures {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** What was seen of a load within a window. */
export interface LoadWindow {
  readonly get: LoadFigures
  readonly put: LoadFigures
  readonly failed: number
}

/** Clients that each wait for their answers, or requests a second that wait for nothing. */
export type Load = { readonly clients: number } | { readonly perSecond: number }

/** What the parent asks for. */
export type MovingCommand =
  | { readonly kind: 'loaded' }
  | {
      readonly kind: 'start'
      readonly bootstrap: readonly string[]
      readonly folder?: string | undefined
      readonly weight?: number
    }
  | { readonly kind: 'bareDatabase'; readonly records: number; readonly folder: string | undefined }
  | { readonly kind: 'fill'; readonly records: number }
  | { readonly kind: 'settled' }
  | { readonly kind: 'leave' }
  | { readonly kind: 'load'; readonly load: Load; readonly records: number }
  | { readonly kind: 'window' }
  | { readonly kind: 'unload' }
  | { readonly kind: 'watch' }
  | { readonly kind: 'lag' }
  | { readonly kind: 'repair' }
  | { readonly kind: 'status' }

/** What it answers, by the kind of the command. */
export interface MovingAnswers {
  /** The process has loaded its modules. */
  readonly loaded: undefined
  readonly start: readonly string[]
  /** Records of the same size that the database alone stores in a second. */
  readonly bareDatabase: number
  readonly fill: undefined
  readonly settled: undefined
  readonly leave: undefined
  readonly load: undefined
  /** What requests took since the last window was taken. */
  readonly window: LoadWindow
  readonly unload: undefined
  readonly watch: undefined
  /** 99th percentile of how late the event loop ran since the watch began, ms. */
  readonly lag: number
  readonly repair: RepairReport
  readonly status: NodeStatus
}

const VALUE = new Uint8Array(100).fill(118)
const AT_ONCE = 2000
const QUORUM = { consistency: 'quorum' } as const

let node: Node
let values: Keyspace<Uint8Array>
let load: Clients | OpenLoop<'get' | 'put'>
const delay = monitorEventLoopDelay({ resolution: 5 })

async function run(command: MovingCommand): Promise<MovingAnswers[keyof MovingAnswers]> {
  switch (command.kind) {
    case 'loaded':
      return undefined
    case 'start': {
      // Repairs only when asked for: they are measured.
      const options = { repairIntervalMs: Infinity, purgeIntervalMs: Infinity, warmUpMs: 0, logger: silentLogger }
      const storage = command.folder === undefined ? {} : { storage: new ClassicLevel(command.folder) }
      node = await createNode({ ...options, ...storage, bootstrap: command.bootstrap, weight: command.weight ?? 1 })
      values = node.keyspace<Uint8Array>('', { valueEncoding: 'view', consistency: 'all' })
      return node.addresses
    }
    case 'bareDatabase':
      return bareDatabase(command.records, command.folder)
    case 'fill':
      for (let at = 0; at < command.records; at += AT_ONCE) {
        const keys = Array.from({ length: Math.min(AT_ONCE, command.records - at) }, (_, i) => `key:${at + i}`)
        await values.batch(keys.map(key => ({ type: 'put', key, value: VALUE })))
      }
      return undefined
    case 'settled':
      await node.settled({ timeoutMs: 300_000 })
      return undefined
    case 'leave':
      await node.leave({ timeoutMs: 120_000 })
      return undefined
    case 'load': {
      const { records } = command
      const key = (): string => `key:${Math.floor(Math.random() * records)}`
      const requests = {
        get: () => values.get(key(), QUORUM),
        put: () => values.put(key(), VALUE, QUORUM)
      }
      load =
        'clients' in command.load
          ? new Clients(command.load.clients, requests)
          : new OpenLoop(command.load.perSecond, requests, ['put', 'get'])
      return undefined
    }
    case 'window': {
      const { get, put } = load.take()
      return { get: figuresOf(get), put: figuresOf(put), failed: get.failed + put.failed }
    }
    case 'unload':
      await load.stop()
      return undefined
    case 'watch':
      delay.reset()
      delay.enable()
      return undefined
    case 'lag':
      return delay.percentile(99) / 1e6 - 5
    case 'repair':
      return node.repair()
    case 'status':
      return node.status()
  }
}

function figuresOf({ operations, p50Us, p99Us }: Measurement): LoadFigures {
  return { count: operations, p50Ms: p50Us / 1000, p99Ms: p99Us / 1000 }
}

/** Keys of 15 bytes in no order, as those of partitions come, in batches as a node writes them. */
async function bareDatabase(records: number, folder: string | undefined): Promise<number> {
  const encodings = { keyEncoding: 'view', valueEncoding: 'view' } as const
  const database =
    folder === undefined
      ? new MemoryLevel<Uint8Array, Uint8Array>({ storeEncoding: 'view', ...encodings })
      : new ClassicLevel<Uint8Array, Uint8Array>(folder, encodings)
  await database.open()
  const startMs = performance.now()
  for (let at = 0; at < records; at += 512) {
    const batch = Array.from({ length: Math.min(512, records - at) }, (_, i) => {
      const number = ((at + i) * 7919) % records
      const key = new Uint8Array(new TextEncoder().encode(`part:${String(number).padStart(10, '0')}`))
      return { type: 'put', key, value: new Uint8Array(116) } as const
    })
    await database.batch(batch)
  }
  const perSecond = (records / (performance.now() - startMs)) * 1000
  await database.close()
  return perSecond
}

process.on('message', (command: MovingCommand) => {
  void run(command).then(answer => process.send!({ answer }))
})
process.on('disconnect', () => process.exit())
