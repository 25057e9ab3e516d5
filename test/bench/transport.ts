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
import { BareFrames, serveBareFrames } from './bare-frames.ts'
import { closedLoop, type Measurement } from './measure.ts'

/**
 * Round trips of 128 bytes over one encrypted link between two processes: through the transport, and as bare frames.
 *
 *     node --import tsx/esm --conditions=kilovolt-source test/bench/transport.ts
 */

const never = new AbortController().signal
const body = new Uint8Array(128).fill(7)
const SECONDS = 2

async function createHost(): Promise<Libp2pHost> {
  return Libp2pHost.create({
    peerKey: await createPeerKey(),
    cluster: 'bench',
    partitions: 256,
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

function requests(mesh: Mesh): () => Promise<void> {
  const to = mesh.links()[0]!
  const request = { type: MessageType.GET, class: 'data', body, timeoutMs: 5000 } as const
  return () =>
    new Promise((resolve, reject) => {
      mesh.request(to, request, ({ kind }) => (kind === 'reply' ? resolve() : reject(new Error(kind))))
    })
}

async function main(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ['serve'])
  const [addresses] = (await once(child, 'message')) as [{ mesh: string; bare: string }]
  const bareHost = await createHost()
  await bareHost.start()
  const link: Link = await bareHost.open(await bareHost.connect(addresses.bare, never), 'data', never)
  const mesh = createMesh(await createHost(), 'a')
  await mesh.start()
  await mesh.dial(addresses.mesh, never)
  const request = requests(mesh)
  const frames = new BareFrames([link], 1)
  const show = ({ opsPerSecond, p99Us }: Measurement): string =>
    `${Math.round(opsPerSecond)}/s p99 ${(p99Us / 1000).toFixed(3)} ms`
  for (const round of ['warm-up', 'measured']) {
    for (const inFlight of [1, 64, 256]) {
      const bare = await closedLoop(() => frames.ask(body), { inFlight, seconds: SECONDS })
      const through = await closedLoop(request, { inFlight, seconds: SECONDS })
      const share = (through.opsPerSecond / bare.opsPerSecond).toFixed(2)
      console.log(`${round}, ${inFlight} in flight: transport ${show(through)}, bare ${show(bare)}, share ${share}`)
    }
  }
  await mesh.stop()
  await bareHost.stop()
  child.kill()
}

await (process.argv[2] === 'serve' ? serve() : main())
