// A node in an OS process of its own, driven over IPC by `process-node.ts`.
import {
  type BatchOperation,
  createNode,
  isKilovoltError,
  type Node,
  type NodeEvents,
  type NodeOptions,
  type Scan,
  type ScanOptions
} from 'kilovolt'
import { assembleNode } from '../../src/node/assemble.ts'
import { createParts } from '../../src/node/defaults.ts'
import { KilovoltNode } from '../../src/node/kilovolt-node.ts'
import { resolveOptions } from '../../src/node/options.ts'
import { untilUsable } from '../../src/node/usable.ts'
import { CounterLoad, type LoadOptions } from './counter-load.ts'
import { detour } from './detour.ts'
import { FillableLevel } from './fillable-level.ts'
import { scan, scanOn } from './scan.ts'
import type { ChildCall, ChildOptions, FromChild } from './process-node.ts'

const EVENTS = [
  'member:joined',
  'member:suspected',
  'member:failed',
  'member:returned',
  'member:left',
  'node:stopped'
] as const satisfies (keyof NodeEvents)[]

let node: Node | undefined
let disk: FillableLevel | undefined
let load: CounterLoad | undefined
let openScan: Scan<string> | undefined

function send(message: FromChild): void {
  process.send?.(message)
}

/** As `createNode` does it, with another lag of purging. */
async function createWithLag(options: NodeOptions, purgeLagMs: number): Promise<Node> {
  const resolved = resolveOptions(options)
  const core = assembleNode({ ...resolved, purgeLagMs }, await createParts(resolved))
  const made = new KilovoltNode(core)
  await core.start()
  await untilUsable(core)
  return made
}

async function start({ folder, purgeLagMs, ...options }: ChildOptions): Promise<unknown> {
  disk = folder === undefined ? undefined : new FillableLevel(folder)
  const nodeOptions: NodeOptions = { ...options, ...(disk === undefined ? {} : { storage: disk }) }
  node = await (purgeLagMs === undefined ? createNode(nodeOptions) : createWithLag(nodeOptions, purgeLagMs))
  for (const name of EVENTS) {
    node.addEventListener(name, event => {
      const detail: unknown = event.detail
      const about = typeof detail === 'object' && detail !== null && 'id' in detail ? String(detail.id) : ''
      send({ kind: 'event', name, about, at: Date.now() })
    })
  }
  return { id: node.id, addresses: node.addresses, at: Date.now() }
}

const METHODS: Readonly<Record<ChildCall['method'], (...args: never[]) => unknown>> = {
  detour,
  setDisk: (isFull: boolean) => {
    if (disk === undefined) throw new Error('it has no disk')
    disk.isFull = isFull
  },
  start,
  put: (key: string, value: unknown, options?: object) => node?.put(key, value, options),
  get: (key: string, options?: object) => node?.get(key, options),
  batch: (operations: BatchOperation<unknown>[], options?: object) => node?.batch(operations, options),
  getMany: (keys: string[], options?: object) => node?.getMany(keys, options),
  scan: (options: ScanOptions, most: number) => {
    if (node === undefined) throw new Error('not started')
    return scan(node, options, most)
  },
  scanOn: (options: ScanOptions, most: number) => {
    if (node === undefined) throw new Error('not started')
    return scanOn((openScan ??= node.keys(options)), most)
  },
  members: () => node?.members(),
  status: () => node?.status(),
  shares: () => node?.ring.shares(),
  owners: (key: string) => node?.ring.owners(key),
  settled: (timeoutMs: number) => node?.settled({ timeoutMs }),
  safeToStop: () => node?.safeToStop(),
  leave: () => node?.leave(),
  stop: () => node?.stop(),
  startLoad: (
    prefix: string,
    keys: number,
    workers: number,
    consistency: LoadOptions['consistency'],
    retryForMs: number
  ) => {
    if (node === undefined) throw new Error('not started')
    load = new CounterLoad(node, { prefix, keys, workers, consistency, retryForMs }, acknowledged =>
      send({ kind: 'acknowledged', acknowledged })
    )
    load.start()
  },
  loadReport: () => load?.report(),
  stopLoad: () => load?.stop()
}

process.on('message', ({ id, method, args }: ChildCall) => {
  void (async () => {
    try {
      const value: unknown = await METHODS[method](...(args as never[]))
      send({ kind: 'result', id, value })
    } catch (error) {
      const code = isKilovoltError(error) ? error.code : undefined
      const details: unknown = isKilovoltError(error) ? JSON.parse(JSON.stringify(error.details)) : undefined
      send({ kind: 'error', id, message: error instanceof Error ? error.message : String(error), code, details })
    }
  })()
})
process.on('disconnect', () => process.exit())
