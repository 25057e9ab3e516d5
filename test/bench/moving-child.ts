// One process of the bench of transfers and repairs: a node, driven over IPC by `moving.ts`.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { createNode, type Keyspace, type Node, type NodeStatus, type RepairReport } from 'kilovolt'
import { silentLogger } from '../../src/runtime/logger.ts'

/** What the parent asks for. */
export type MovingCommand =
  | { readonly kind: 'start'; readonly bootstrap: readonly string[] }
  | { readonly kind: 'fill'; readonly records: number }
  | { readonly kind: 'settled' }
  | { readonly kind: 'watch' }
  | { readonly kind: 'lag' }
  | { readonly kind: 'repair' }
  | { readonly kind: 'status' }

/** What it answers, by the kind of the command. */
export interface MovingAnswers {
  readonly start: readonly string[]
  readonly fill: undefined
  readonly settled: undefined
  readonly watch: undefined
  /** 99th percentile of how late the event loop ran since the watch began, ms. */
  readonly lag: number
  readonly repair: RepairReport
  readonly status: NodeStatus
}

const VALUE = new Uint8Array(100).fill(118)
const AT_ONCE = 2000

let node: Node
let values: Keyspace<Uint8Array>
const delay = monitorEventLoopDelay({ resolution: 5 })

async function run(command: MovingCommand): Promise<MovingAnswers[keyof MovingAnswers]> {
  switch (command.kind) {
    case 'start': {
      // Repairs only when asked for: they are measured.
      const options = { repairIntervalMs: Infinity, purgeIntervalMs: Infinity, warmUpMs: 0, logger: silentLogger }
      node = await createNode({ ...options, bootstrap: command.bootstrap })
      values = node.keyspace<Uint8Array>('', { valueEncoding: 'view', consistency: 'one' })
      return node.addresses
    }
    case 'fill':
      for (let at = 0; at < command.records; at += AT_ONCE) {
        const keys = Array.from({ length: Math.min(AT_ONCE, command.records - at) }, (_, i) => `key:${at + i}`)
        await values.batch(keys.map(key => ({ type: 'put', key, value: VALUE })))
      }
      return undefined
    case 'settled':
      await node.settled({ timeoutMs: 300_000 })
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

process.on('message', (command: MovingCommand) => {
  void run(command).then(answer => process.send!({ answer }))
})
process.on('disconnect', () => process.exit())
