import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { FrameSplitter } from '../../src/codec/frame.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import type { Link } from '../../src/transport/host.ts'
import { Libp2pHost } from '../../src/transport/libp2p-host.ts'
import { createPeerKey } from '../../src/transport/peer-key.ts'
import { BareFrames, type Encryption, type FrameLink, type Framing, serveBareFrames } from './bare-frames.ts'
import { KEY_BYTES, type Level } from './load.ts'
import type { Target } from './target.ts'

/** Where a bare host can be reached. */
export interface BareAddresses {
  readonly libp2p: string
  readonly tcpPort: number
}

/** Ways to send frames: those of a turn gathered into one or each by itself, over libp2p; gathered, over TCP alone. */
export type BareKind = 'frames' | 'singleFrames' | 'tcpFrames'

/** What a record has beside its value, as in `model/record.ts`. */
const RECORD_HEAD_BYTES = 16
/** What a request says of a record's place beside the key: partition, keyspace, lengths, flags. */
const PLACE_BYTES = 12
/** Of the record that whoever reads has already. */
const STAMP_BYTES = 15
/** What a replica says to a write, and to a read when it has nothing newer. */
const ACKNOWLEDGEMENT = new Uint8Array(1)

const never = new AbortController().signal

/** Sends, and answers, the bytes of operations without there being any. */
export class BareHost {
  readonly #host: Libp2pHost
  readonly #server: Server
  readonly #links: Record<BareKind, FrameLink[]> = { frames: [], singleFrames: [], tcpFrames: [] }
  readonly #frames: Partial<Record<BareKind, BareFrames>> = {}
  readonly #close: (() => void)[] = []

  /** @param encryption - what a node has when it is not said */
  static async create(encryption?: Encryption): Promise<BareHost> {
    // Loaded only here: other revisions of the sources may not have what it needs.
    const encrypters =
      encryption === undefined
        ? {}
        : { encrypters: [await (await import('./encrypters.ts')).createEncrypter(encryption)] }
    const host = await Libp2pHost.create({
      peerKey: await createPeerKey(),
      cluster: 'bare',
      partitions: 256,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      announce: [],
      secret: undefined,
      allow: undefined,
      clock: systemClock,
      logger: silentLogger,
      ...encrypters
    })
    const answer = (): Uint8Array => ACKNOWLEDGEMENT
    host.on('link', link => serveBareFrames(link, answer, link.class === 'data' ? 'gathered' : 'single'))
    await host.start()
    const server = createServer({ noDelay: true }, socket => serveBareFrames(new TcpLink(socket), answer))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return new BareHost(host, server)
  }

  private constructor(host: Libp2pHost, server: Server) {
    this.#host = host
    this.#server = server
  }

  get addresses(): BareAddresses {
    return { libp2p: this.#host.addresses[0]!, tcpPort: (this.#server.address() as AddressInfo).port }
  }

  async connect(others: readonly BareAddresses[]): Promise<void> {
    for (const { libp2p, tcpPort } of others) {
      const peer = await this.#host.connect(libp2p, never)
      for (const kind of ['frames', 'singleFrames'] as const) {
        const link: Link = await this.#host.open(peer, kind === 'frames' ? 'data' : 'bulk', never)
        this.#links[kind].push(link)
        this.#close.push(() => link.close('done'))
      }
      const socket = connect({ port: tcpPort, host: '127.0.0.1', noDelay: true })
      await once(socket, 'connect')
      this.#links.tcpFrames.push(new TcpLink(socket))
      this.#close.push(() => socket.destroy())
    }
  }

  target(kind: BareKind, valueBytes: number): Target {
    // A link has one reader: values of all lengths share it.
    const frames = (this.#frames[kind] ??= new BareFrames(this.#links[kind], 1, framingOf(kind)))
    return new BareTarget(frames, valueBytes)
  }

  async stop(): Promise<void> {
    for (const close of this.#close) close()
    this.#server.close()
    await this.#host.stop()
  }
}

function framingOf(kind: BareKind): Framing {
  return kind === 'singleFrames' ? 'single' : 'gathered'
}

/** Frames over a socket, as bytes of nothing else. */
class TcpLink implements FrameLink {
  onFrame: (frame: Uint8Array) => void = () => {}
  readonly #socket: Socket
  readonly #splitter = new FrameSplitter()

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', chunk => {
      for (const frame of this.#splitter.push(chunk)) this.onFrame(frame)
    })
    // The other process has ended.
    socket.on('error', () => {})
  }

  send(frame: Uint8Array): boolean {
    return this.#socket.write(frame)
  }
}

/**
 * An operation's bytes to each peer: done at the first answer, which with oneself is a quorum of three, or at all of them.
 */
class BareTarget implements Target {
  readonly #frames: BareFrames
  readonly #read = new Uint8Array(PLACE_BYTES + KEY_BYTES + STAMP_BYTES)
  readonly #write: Uint8Array

  constructor(frames: BareFrames, valueBytes: number) {
    this.#frames = frames
    this.#write = new Uint8Array(PLACE_BYTES + KEY_BYTES + RECORD_HEAD_BYTES + valueBytes)
  }

  async fill(): Promise<void> {}

  get(_key: string, level: Level): Promise<unknown> {
    return this.#frames.ask(this.#read, level === 'all')
  }

  put(_key: string, _value: Uint8Array, level: Level): Promise<unknown> {
    return this.#frames.ask(this.#write, level === 'all')
  }

  getMany(keys: readonly string[], level: Level): Promise<unknown> {
    return Promise.all(keys.map(key => this.get(key, level)))
  }

  putMany(keys: readonly string[], value: Uint8Array, level: Level): Promise<unknown> {
    return Promise.all(keys.map(key => this.put(key, value, level)))
  }
}
