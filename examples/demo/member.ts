// One process of the demo's cluster: an ordinary app that embeds a node and does what the story tells it over IPC.
import { createNode, type Node } from 'kilovolt'
import type { City } from './cities.ts'
import type { Answer, Command, Look, News, ToMember, Visit } from './messages.ts'

/** Read/write pairs that this process keeps under way at once. */
const WORKERS = 8
const REPORT_EVERY_MS = 50

let node: Node | undefined
const load = { running: false, workers: [] as Promise<void>[] }
let report = { ok: 0, failed: 0, acknowledged: [] as Visit[] }

function tell(news: News): void {
  process.send?.({ news })
}

function theNode(): Node {
  if (node === undefined) throw new Error('not started')
  return node
}

async function start(bootstrap: readonly string[]): Promise<Answer> {
  // A dead member's copies are rebuilt after 5 s instead of the default 15, so that the story stays short.
  node = await createNode({ cluster: 'demo', bootstrap, evictAfterMs: 5000 })
  for (const name of ['member:joined', 'member:suspected', 'member:failed'] as const) {
    node.addEventListener(name, event => {
      tell({ type: 'event', name, about: event.detail.id, at: Date.now() })
    })
  }
  return { type: 'started', id: node.id, address: node.addresses[0]! }
}

async function store(records: readonly (readonly [string, City])[]): Promise<Answer> {
  await theNode().batch(records.map(([key, value]) => ({ type: 'put', key, value })))
  return { type: 'stored', count: records.length }
}

/** Adds one to the visit counters of its own keys, over and over: read at quorum, add, write at quorum. */
function visit(keys: readonly string[]): Answer {
  load.running = true
  const visits = theNode().keyspace<number>('visits')
  const timer = setInterval(flush, REPORT_EVERY_MS)
  load.workers = Array.from({ length: WORKERS }, async (_, worker) => {
    for (let i = worker; load.running; i = (i + WORKERS) % keys.length) {
      const key = keys[i]!
      try {
        const count = ((await visits.get(key)) ?? 0) + 1
        await visits.put(key, count)
        report.ok += 2
        report.acknowledged.push([key, count])
      } catch {
        report.failed++
      }
    }
  })
  load.workers.push(Promise.all(load.workers).then(() => clearInterval(timer)))
  return { type: 'done' }
}

function flush(): void {
  tell({ type: 'load', ...report })
  report = { ok: 0, failed: 0, acknowledged: [] }
}

async function halt(): Promise<Answer> {
  load.running = false
  await Promise.all(load.workers)
  flush()
  return { type: 'done' }
}

/** Reads everything back at quorum. A counter may be ahead of what was acknowledged, never behind. */
async function check(cities: readonly string[], visits: readonly Visit[]): Promise<Answer> {
  const missing: string[] = []
  const found = await theNode().getMany(cities)
  for (const [i, city] of found.entries()) if (city === undefined) missing.push(cities[i]!)
  const counts = await theNode()
    .keyspace<number>('visits')
    .getMany(visits.map(([key]) => key))
  for (const [i, count] of counts.entries()) if ((count ?? 0) < visits[i]![1]) missing.push(visits[i]![0])
  return { type: 'checked', missing }
}

function look(): Look {
  const { ring, id } = theNode()
  const members = theNode().members()
  const partitions = Array.from({ length: ring.partitions }, (_, partition) => ring.ownersOf(partition))
  return {
    id,
    alive: members.filter(({ status }) => status === 'alive').map(member => member.id),
    up: members.filter(({ membership }) => membership === 'up').map(member => member.id),
    changing: ring.changing,
    epoch: ring.epoch,
    shares: ring.shares(),
    primaries: partitions.map(owners => owners[0] ?? ''),
    copies: partitions.map(owners => owners.length)
  }
}

async function perform(command: Command): Promise<Answer> {
  switch (command.type) {
    case 'start':
      return start(command.bootstrap)
    case 'store':
      return store(command.records)
    case 'visit':
      return visit(command.keys)
    case 'halt':
      return halt()
    case 'check':
      return check(command.cities, command.visits)
    case 'look':
      return { type: 'seen', look: look() }
    case 'stop':
      await node?.stop()
      return { type: 'done' }
  }
}

process.on('message', (message: ToMember) => {
  void perform(message.command)
    .catch((error: unknown): Answer => ({ type: 'failed', message: String(error) }))
    .then(answer => {
      process.send?.({ answer, to: message.id })
      if (message.command.type === 'stop') process.disconnect()
    })
})
// The story is over when its process is gone.
process.on('disconnect', () => process.exit())
