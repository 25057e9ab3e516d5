import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { StoreId } from '../../src/model/node-id.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { systemRandom } from '../../src/runtime/system-random.ts'
import type { Hello } from '../../src/transport/hello.ts'
import type { Link } from '../../src/transport/host.ts'
import { Libp2pHost } from '../../src/transport/libp2p-host.ts'
import { Mesh } from '../../src/transport/mesh.ts'
import { MessageType } from '../../src/transport/message-type.ts'
import { createPeerKey } from '../../src/transport/peer-key.ts'
import { runBareFrames, serveBareFrames } from './bare-frames.ts'

/**
 * Round trips of 128 bytes over one encrypted link between two processes: through the transport, and as bare frames.
 *
 *     node --import tsx/esm --conditions=kilovolt-source test/bench/transport.ts
 */

const never = new AbortController().signal
const body = new Uint8Array(128).fill(7)
const DURATION_MS = Number(process.env['DURATION_MS'] ?? 2000)

async function createHost(): Promise<Libp2pHost> {
  return Libp2pHost.create({
    peerKey: await createPeerKey(),
    cluster: 'bench',
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    secret: undefined,
    allow: undefined,
    clock: systemClock,
    logger: silentLogger
  })
}

function createMesh(host: Libp2pHost, digit: string): Mesh {
  const hello: Hello = {
    version: 1,
    versionMin: 1,
    cluster: 'bench',
    clusterId: undefined,
    storeId: digit.repeat(32) as StoreId,
    partitions: 256,
    addresses: [],
    weight: 1,
    zone: '',
    region: '',
    volatile: true,
    epoch: 0,
    wallMs: 0
  }
  return new Mesh({ host, clock: systemClock, random: systemRandom, logger: silentLogger, hello: () => hello })
}

/** The other process: answers requests at one address, bare frames at another. */
async function serve(): Promise<void> {
  const bare = await createHost()
  bare.on('link', link => serveBareFrames(link, () => body))
  await bare.start()
  const host = await createHost()
  const mesh = createMesh(host, 'b')
  mesh.handle(MessageType.GET, (message, respond) => respond.reply(message.body))
  await mesh.start()
  process.send!({ mesh: mesh.addresses[0], bare: bare.addresses[0] })
}

async function runMesh(mesh: Mesh, address: string, inFlight: number): Promise<{ perSecond: number; p99Ms: number }> {
  await mesh.dial(address, never)
  const to = mesh.links()[0]!
  const latenciesMs: number[] = []
  const startMs = performance.now()
  await new Promise<void>((resolve, reject) => {
    let running = inFlight
    const ask = (): void => {
      const atMs = performance.now()
      if (atMs - startMs >= DURATION_MS) {
        if (--running === 0) resolve()
        return
      }
      mesh.request(to, { type: MessageType.GET, class: 'data', body, timeoutMs: 5000 }, outcome => {
        if (outcome.kind !== 'reply') return reject(new Error(outcome.kind))
        latenciesMs.push(performance.now() - atMs)
        ask()
      })
    }
    for (let i = 0; i < inFlight; i++) ask()
  })
  return summary(Float64Array.from(latenciesMs), performance.now() - startMs)
}

function summary(latenciesMs: Float64Array, elapsedMs: number): { perSecond: number; p99Ms: number } {
  const sorted = latenciesMs.sort()
  return {
    perSecond: Math.round(sorted.length / (elapsedMs / 1000)),
    p99Ms: Number(sorted[Math.floor(sorted.length * 0.99)]!.toFixed(3))
  }
}

async function main(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ['serve'])
  const [addresses] = (await once(child, 'message')) as [{ mesh: string; bare: string }]
  const bareHost = await createHost()
  await bareHost.start()
  const link: Link = await bareHost.open(await bareHost.connect(addresses.bare, never), 'data', never)
  const mesh = createMesh(await createHost(), 'a')
  await mesh.start()
  for (const round of ['warm-up', 'measured']) {
    for (const inFlight of [1, 64, 256]) {
      const bare = await runBareFrames({ links: [link], quorum: 1, inFlight, bodies: [body], durationMs: DURATION_MS })
      const floor = summary(bare.latenciesMs, bare.elapsedMs)
      const through = await runMesh(mesh, addresses.mesh, inFlight)
      const share = (through.perSecond / floor.perSecond).toFixed(2)
      console.log(
        `${round}, ${inFlight} in flight: transport ${through.perSecond}/s p99 ${through.p99Ms} ms, ` +
          `bare ${floor.perSecond}/s p99 ${floor.p99Ms} ms, share ${share}`
      )
    }
  }
  await mesh.stop()
  await bareHost.stop()
  child.kill()
}

await (process.argv[2] === 'serve' ? serve() : main())
