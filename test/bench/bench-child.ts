// One process of the bench, driven over IPC: a node, a bare database, or a sender of bare frames. See `bench-process.ts`.
import { writeFile } from 'node:fs/promises'
import { type Profiler, Session } from 'node:inspector/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { createNode, type Node } from 'kilovolt'
import type { Encryption } from './bare-frames.ts'
import type { BareAddresses, BareHost } from './bare-host.ts'
import { DatabaseTarget, MapTarget } from './database-target.ts'
import { DocumentTarget } from './document-target.ts'
import { KilovoltTarget } from './kilovolt-target.ts'
import { keysOf, type Load, type Pace } from './load.ts'
import { closedLoop, type Measurement } from './measure.ts'
import { Meter } from './meter.ts'
import { OpenLoop } from './open-loop.ts'
import { keysAtOnce, operationOf, type Target, type TargetName } from './target.ts'

/** Where a process keeps data: in memory when there is no folder. */
export interface StoreSetup {
  readonly folder?: string
  readonly durability?: 'os' | 'fsync'
}

/** What the parent asks for. */
export type BenchCommand =
  | { readonly kind: 'node'; readonly bootstrap: readonly string[] }
  | { readonly kind: 'settled' }
  | { readonly kind: 'bareHost'; readonly encryption: Encryption | undefined }
  | { readonly kind: 'connect'; readonly others: readonly BareAddresses[] }
  | { readonly kind: 'run'; readonly target: TargetName; readonly load: Load; readonly pace: Pace }
  | { readonly kind: 'meter' }
  | { readonly kind: 'heap' }
  | { readonly kind: 'transport' }
  | { readonly kind: 'profileStart' }
  | { readonly kind: 'profileStop'; readonly file: string }
  | { readonly kind: 'stop' }

const setup = JSON.parse(process.argv[2] ?? '{}') as StoreSetup
const meter = new Meter()
const targets = new Map<string, Promise<Target>>()
const inspector = new Session()
let node: Node | undefined
let bare: BareHost | undefined

async function startNode(bootstrap: readonly string[]): Promise<readonly string[]> {
  const { folder, durability = 'os' } = setup
  const storage = folder === undefined ? {} : { storage: new ClassicLevel(join(folder, 'node')) }
  node = await createNode({ cluster: 'bench', bootstrap, durability, warmUpMs: 0, ...storage })
  return node.addresses
}

async function startBareHost(encryption: Encryption | undefined): Promise<BareAddresses> {
  // Loaded only here: other revisions of the sources may have no such thing.
  const module = await import('./bare-host.ts')
  bare = await module.BareHost.create(encryption)
  return bare.addresses
}

/** The target, with all keys of the load in it; values of one length have a place of their own. */
function targetOf(name: TargetName, load: Load): Promise<Target> {
  const id = `${name} ${load.valueBytes}`
  let target = targets.get(id)
  if (target === undefined) targets.set(id, (target = filled(createTarget(name, load.valueBytes), load)))
  return target
}

function createTarget(name: TargetName, valueBytes: number): Target {
  switch (name) {
    case 'kilovolt':
      return new KilovoltTarget(node!, `values of ${valueBytes} bytes`)
    case 'documents':
      return new DocumentTarget(node!, valueBytes, false)
    case 'packedDocuments':
      return new DocumentTarget(node!, valueBytes, 'zstd')
    case 'database':
      return new DatabaseTarget(setup)
    case 'map':
      return new MapTarget()
    case 'frames':
    case 'singleFrames':
    case 'tcpFrames':
      return bare!.target(name, valueBytes)
  }
}

async function filled(target: Target, load: Load): Promise<Target> {
  await target.fill(keysOf(load), new Uint8Array(load.valueBytes).fill(118))
  return target
}

/** Operations are counted by keys; latencies are those of calls. */
async function run(name: TargetName, load: Load, pace: Pace): Promise<Measurement> {
  const operation = operationOf(await targetOf(name, load), load)
  const measurement =
    'inFlight' in pace ? await closedLoop(operation, pace) : await openLoop(operation, pace.perSecond, pace.seconds)
  const keys = keysAtOnce(load)
  return {
    ...measurement,
    operations: measurement.operations * keys,
    opsPerSecond: measurement.opsPerSecond * keys
  }
}

async function openLoop(
  operation: (i: number) => Promise<unknown>,
  perSecond: number,
  seconds: number
): Promise<Measurement> {
  const loop = new OpenLoop(perSecond, { all: operation }, ['all'])
  await new Promise(resolve => setTimeout(resolve, seconds * 1000))
  // What is begun by now counts as well: the slowest must not be left out.
  const open = loop.stop()
  await open
  return loop.take().all
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

/** Bytes that are in use after everything that can be collected has been. */
function heapBytes(): number {
  // Buffers are freed by finalizers, which the first collection only makes due.
  for (let i = 0; i < 2; i++) globalThis.gc!()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

async function stop(): Promise<void> {
  for (const target of targets.values()) await (await target).close?.()
  await bare?.stop()
  await node?.stop()
}

async function perform(command: BenchCommand): Promise<unknown> {
  switch (command.kind) {
    case 'node':
      return startNode(command.bootstrap)
    case 'settled':
      return node?.settled({ timeoutMs: 60_000 })
    case 'bareHost':
      return startBareHost(command.encryption)
    case 'connect':
      return bare!.connect(command.others)
    case 'run':
      return run(command.target, command.load, command.pace)
    case 'meter':
      return meter.take()
    case 'heap':
      return heapBytes()
    case 'transport':
      return node?.status().transport
    case 'profileStart':
      return startProfile()
    case 'profileStop':
      return stopProfile(command.file)
    case 'stop':
      return stop()
  }
}

process.on('message', ({ id, command }: { id: number; command: BenchCommand }) => {
  // What rejects ends the process, and with it the bench.
  void perform(command).then(value => {
    process.send!({ id, value })
    if (command.kind === 'stop') process.disconnect()
  })
})
// The bench itself has ended: nobody is left to stop this.
process.on('disconnect', () => process.exit())
