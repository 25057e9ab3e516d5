import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { PeerId } from '../../src/model/node-id.ts'
import { Libp2pLab } from '../support/libp2p-lab.ts'

const never = new AbortController().signal

describe('two connections between the same nodes', () => {
  let lab: Libp2pLab
  let proxy: Server
  let sockets: Socket[]

  beforeEach(() => {
    lab = new Libp2pLab()
    sockets = []
  })

  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    proxy.close()
    await lab.close()
  })

  it('carry gossip on when the first of them breaks', async () => {
    const [a, b] = [await lab.create(), await lab.create()]
    await Promise.all([a.start(), b.start()])
    const port = Number(/\/tcp\/(\d+)/u.exec(b.addresses[0]!)![1])
    proxy = createServer(near => {
      const far = connect(port, '127.0.0.1')
      for (const socket of [near, far]) socket.on('error', () => {})
      near.pipe(far)
      far.pipe(near)
      sockets.push(near, far)
    })
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    await a.connect(`/ip4/127.0.0.1/tcp/${(proxy.address() as AddressInfo).port}`, never)

    const heard = new Set<PeerId>()
    for (const host of [a, b]) host.on('published', ({ from }) => heard.add(from))
    const bothHear = async (): Promise<void> => {
      heard.clear()
      let n = 0
      for (let i = 0; i < 50 && heard.size < 2; i++) {
        for (const host of [a, b]) host.publish(Uint8Array.of(n++))
        await lab.pass(100)
      }
      assert.equal(heard.size, 2)
    }
    await bothHear()

    let disconnected = false
    for (const host of [a, b]) {
      host.on('disconnected', () => {
        disconnected = true
      })
    }
    await a.connect(`/ip4/127.0.0.1/tcp/${port}`, never)
    // Until it is known all about: only then is the second connection of no news to anybody.
    await lab.pass(500)
    for (const socket of sockets) socket.destroy()
    await lab.pass(200)
    await bothHear()
    assert.equal(disconnected, false)
  })
})
