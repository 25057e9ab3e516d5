// One process of the operations bench: a node, a bare database, or bare frames, driven over IPC by `operations.ts`.
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { type Profiler, Session } from 'node:inspector/promises'
import { MemoryLevel } from 'memory-level'
import { createNode, type Keyspace, type Node } from 'kilovolt'
import { silentLogger } from '../../src/runtime/logger.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import type { Link } from '../../src/transport/host.ts'
import { Libp2pHost } from '../../src/transport/libp2p-host.ts'
import { createPeerKey } from '../../src/transport/peer-key.ts'
import { BareFrames, type Framing, serveBareFrames } from './bare-frames.ts'
import { closedLoop, type Measurement } from './measure.ts'

/** What the parent asks for. */
export type BenchCommand =
  | { readonly kind: 'node'; readonly bootstrap: readonly string[] }
  | { readonly kind: 'settled' }
  | { readonly kind: 'fill' }
  | {
      readonly kind: 'operations'
      readonly mix: Mix
      readonly level: 'one' | 'quorum'
      readonly inFlight: number
      readonly seconds: number
    }
  | { readonly kind: 'bareDatabase'; readonly mix: Mix; readonly inFlight: number; readonly seconds: number }
  | { readonly kind: 'bareHost' }
  | {
      readonly kind: 'bareFrames'
      readonly addresses: readonly string[]
      readonly framing: Framing
      readonly mix: Mix
      readonly inFlight: number
      readonly seconds: number
    }
  | { readonly kind: 'cpu' }
  | { readonly kind: 'transport' }
  | { readonly kind: 'profileStart' }
  | { readonly kind: 'profileStop'; readonly file: string }
  | { readonly kind: 'stop' }

/** Which operations a loop runs. */
export type Mix = 'put' | 'get' | '50/50'

const KEYS = 10_000
const VALUE_BYTES = 100
/** A record on the wire: stamp and flags, then the value. */
const RECORD_BYTES = 24 + VALUE_BYTES
/** A request that reads, and one that writes: keyspace and key, and the record. */
const READ_BYTES = 24
const WRITE_BYTES = READ_BYTES + RECORD_BYTES

const keys = Array.from({ length: KEYS }, (_, i) => `key:${String(i).padStart(12, '0')}`)
const value = new Uint8Array(VALUE_BYTES).fill(118)
const never = new AbortController().signal

let node: Node | undefined
let values: Keyspace<Uint8Array> | undefined
let host: Libp2pHost | undefined
const bareLinks: Record<Framing, Link[]> = { gathered: [], single: [] }
const inspector = new Session()

function isPut(mix: Mix, i: number): boolean {
  return mix === 'put' || (mix === '50/50' && i % 2 === 0)
}

async function fill(): Promise<void> {
  const batch = keys.map(key => ({ type: 'put', key, value }) as const)
  for (let at = 0; at < KEYS; at += 1000) await values!.batch(batch.slice(at, at + 1000))
}

/** The same database in the same kind of process, by its asynchronous calls: what a node adds is the difference. */
async function bareDatabase(mix: Mix, inFlight: number, seconds: number): Promise<Measurement> {
  const database = new MemoryLevel<string, Uint8Array>({ storeEncoding: 'view', valueEncoding: 'view' })
  await database.batch(keys.map(key => ({ type: 'put', key, value })))
  const operation = (i: number): Promise<unknown> => {
    const key = keys[(i * 7919) % KEYS]!
    return isPut(mix, i) ? database.put(key, value) : database.get(key)
  }
  const result = await measured(operation, inFlight, seconds)
  await database.close()
  return result
}

async function bareHost(): Promise<readonly string[]> {
  host = await Libp2pHost.create({
    peerKey: await createPeerKey(),
    cluster: 'bare',
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    secret: undefined,
    allow: undefined,
    clock: systemClock,
    logger: silentLogger
  })
  const acknowledgement = new Uint8Array(2)
  const record = new Uint8Array(RECORD_BYTES)
  host.on('link', link =>
    serveBareFrames(
      link,
      ({ length }) => (length === READ_BYTES ? record : acknowledgement),
      link.class === 'data' ? 'gathered' : 'single'
    )
  )
  await host.start()
  return host.addresses
}

/** An operation's bytes to each peer, done at the first answer: what a quorum of three costs at the least. */
async function bareFrames({
  addresses,
  framing,
  mix,
  inFlight,
  seconds
}: BenchCommand & { readonly kind: 'bareFrames' }): Promise<Measurement> {
  const links = bareLinks[framing]
  if (links.length === 0) {
    for (const address of addresses) {
      const peer = await host!.connect(address, never)
      links.push(await host!.open(peer, framing === 'gathered' ? 'data' : 'bulk', never))
    }
  }
  const [read, write] = [new Uint8Array(READ_BYTES), new Uint8Array(WRITE_BYTES)]
  const frames = new BareFrames(links, 1, framing)
  return measured(i => frames.ask(isPut(mix, i) ? write : read), inFlight, seconds)
}

/** After a warm-up a third as long. */
async function measured(
  operation: (i: number) => Promise<unknown>,
  inFlight: number,
  seconds: number
): Promise<Measurement> {
  await closedLoop(operation, { inFlight, seconds: seconds / 3 })
  return closedLoop(operation, { inFlight, seconds })
}

async function operations(mix: Mix, level: 'one' | 'quorum', inFlight: number, seconds: number): Promise<Measurement> {
  const options = { consistency: level }
  const operation = (i: number): Promise<unknown> => {
    const key = keys[(i * 7919) % KEYS]!
    return isPut(mix, i) ? values!.put(key, value, options) : values!.get(key, options)
  }
  return measured(operation, inFlight, seconds)
}

async function startProfile(): Promise<void> {
  inspector.connect()
  await inspector.post('Profiler.enable')
  await inspector.post('Profiler.setSamplingInterval', { interval: 200 })
  await inspector.post('Profiler.start')
}

/** Writes the profile to a file, for the tools of browsers, and returns it. */
async function stopProfile(file: string): Promise<Profiler.Profile> {
  const { profile } = await inspector.post('Profiler.stop')
  inspector.disconnect()
  await writeFile(file, JSON.stringify(profile))
  return profile
}

async function perform(command: BenchCommand): Promise<unknown> {
  switch (command.kind) {
    case 'node':
      node = await createNode({ cluster: 'bench', bootstrap: command.bootstrap })
      values = node.keyspace<Uint8Array>('values', { valueEncoding: 'view' })
      return node.addresses
    case 'settled':
      return node?.settled()
    case 'fill':
      return fill()
    case 'operations':
      return operations(command.mix, command.level, command.inFlight, command.seconds)
    case 'bareDatabase':
      return bareDatabase(command.mix, command.inFlight, command.seconds)
    case 'bareHost':
      return bareHost()
    case 'bareFrames':
      return bareFrames(command)
    case 'cpu': {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1e6
    }
    case 'transport':
      return node?.status().transport
    case 'profileStart':
      return startProfile()
    case 'profileStop':
      return stopProfile(command.file)
    case 'stop':
      for (const link of [...bareLinks.gathered, ...bareLinks.single]) link.close('done')
      await host?.stop()
      return node?.stop()
  }
}

for (;;) {
  const [{ id, command }] = (await once(process, 'message')) as [{ id: number; command: BenchCommand }]
  process.send?.({ id, value: await perform(command) })
  if (command.kind === 'stop') break
}
process.disconnect()
