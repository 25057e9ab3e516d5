import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { encodeFrame } from '../../src/codec/frame.ts'
import type { Link } from '../../src/transport/host.ts'
import type { Libp2pHost } from '../../src/transport/libp2p-host.ts'
import { Libp2pLab } from '../support/libp2p-lab.ts'

const never = new AbortController().signal
const secret = 'correct horse'

describe('a network with a secret', () => {
  let lab: Libp2pLab

  beforeEach(() => {
    lab = new Libp2pLab()
  })

  afterEach(() => lab.close())

  async function hosts(count: number): Promise<Libp2pHost[]> {
    const made = await Promise.all(Array.from({ length: count }, () => lab.create({ secret })))
    await Promise.all(made.map(host => host.start()))
    return made
  }

  it('keeps its connections after one of them has carried much at once', async () => {
    const [first, ...others] = await hosts(4)
    const frameOf = (bytes: number): Uint8Array =>
      encodeFrame([{ type: 200, id: 1, epoch: 0, body: new Uint8Array(bytes) }])
    const lost: string[] = []
    let received = 0
    const links: Link[] = []
    for (const host of others) {
      host.on('link', link => {
        link.onFrame = () => received++
      })
      const link = await first!.open(await first!.connect(host.addresses[0]!, never), 'bulk', never)
      link.onClose = reason => lost.push(reason)
      links.push(link)
    }
    let sent = 0
    for (const bytes of [1_500_000, ...Array.from({ length: 400 }, () => 100)]) {
      for (const link of links) {
        link.send(frameOf(bytes))
        sent++
      }
      await lab.until(() => received === sent || lost.length > 0, 'the frames')
      assert.deepEqual(lost, [])
    }
  }).timeout(30_000)

  it('gives the ciphers of connections that are gone back', async () => {
    const [a, b] = await hosts(2)
    const require = createRequire(createRequire(import.meta.url).resolve('@libp2p/pnet'))
    const { prototype } = require('xsalsa20') as { prototype: { finalize: () => void } }
    const finalize = prototype.finalize
    let count = 0
    prototype.finalize = function (): void {
      count++
      finalize.call(this)
    }
    try {
      for (let i = 1; i <= 3; i++) {
        a!.disconnect(await a!.connect(b!.addresses[0]!, never), 'enough')
        // Two on either side.
        await lab.until(() => count === 4 * i, 'the ciphers to be given back')
        await lab.until(() => !b!.isConnected(a!.self), 'the other side to notice')
      }
    } finally {
      prototype.finalize = finalize
    }
  })
})
