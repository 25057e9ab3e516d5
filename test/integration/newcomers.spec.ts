import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Node } from 'kilovolt'
import { freePort } from '../support/free-port.ts'
import { NodeLab } from '../support/node-lab.ts'

/** How long a newcomer lets whoever dials it wait, ms: what two busy cores make of a handshake. */
const SLOW_MS = 700
/** How long each of them writes. */
const WRITES_MS = 2000

describe('nodes that join at the same time over real links', () => {
  const lab = new NodeLab()
  const proxies: Server[] = []
  const sockets = new Set<Socket>()

  afterEach(async () => {
    await lab.clear()
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    for (const proxy of proxies.splice(0)) proxy.close()
  })

  /** The address of a port at which connections to another one are slow to begin. */
  async function slowAddress(port: number): Promise<string> {
    const goOn = (near: Socket): void => {
      const far = connect(port, '127.0.0.1')
      sockets.add(far.on('error', () => {}))
      near.pipe(far)
      far.pipe(near)
    }
    const proxy = createServer({ pauseOnConnect: true }, near => {
      sockets.add(near.on('error', () => {}))
      setTimeout(goOn, SLOW_MS, near)
    })
    proxies.push(proxy.listen(0, '127.0.0.1'))
    await once(proxy, 'listening')
    return `/ip4/127.0.0.1/tcp/${(proxy.address() as AddressInfo).port}`
  }

  it('can write all the while, however long it takes to link them with each other', async () => {
    const founder = await lab.start()
    const start = async (): Promise<Node> => {
      const port = await freePort()
      const listen = [`/ip4/127.0.0.1/tcp/${port}`]
      return lab.start({ listen, announce: [await slowAddress(port)], bootstrap: founder.addresses })
    }
    const write = async (name: string): Promise<number> => {
      const node = await start()
      const endMs = Date.now() + WRITES_MS
      for (let count = 0; ; await pause(20)) {
        if (Date.now() >= endMs) return count
        await Promise.all(Array.from({ length: 8 }, () => node.put(`${name} ${count++}`, name)))
      }
    }
    const [one, two] = await Promise.all([write('one'), write('two')])
    assert.equal(await founder.count(), one + two)
  }).timeout(30_000)
})
