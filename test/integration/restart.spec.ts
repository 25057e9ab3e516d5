import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { ClassicLevel } from 'classic-level'
import type { Node } from 'kilovolt'
import { freePort } from '../support/free-port.ts'
import { NodeLab } from '../support/node-lab.ts'

const KEYS = Array.from({ length: 60 }, (_, i) => `key-${i}`)

describe('nodes that are started again', () => {
  const lab = new NodeLab()

  afterEach(() => lab.clear())

  it('answer at once when createNode resolves, one of three or all of them', async () => {
    const ports = await Promise.all([freePort(), freePort(), freePort()])
    const bootstrap = ports.map(port => `/ip4/127.0.0.1/tcp/${port}`)
    const folders = ports.map(() => lab.folder())
    const start = (i: number): Promise<Node> =>
      lab.start({ bootstrap, listen: [bootstrap[i]!], storage: new ClassicLevel(folders[i]!) })
    const all = (): Promise<Node[]> => Promise.all(folders.map((_, i) => start(i)))
    const nodes = await all()
    await nodes[0]!.settled()
    await nodes[0]!.batch(KEYS.map(key => ({ type: 'put', key, value: key })))
    await nodes[1]!.stop()
    nodes[1] = await start(1)
    assert.deepEqual(await nodes[1].getMany(KEYS), KEYS)
    await Promise.all(nodes.map(node => node.stop()))
    for (const node of nodes) {
      assert.deepEqual([node.status().phase, node.status().health], ['stopped', 'unavailable'])
      assert.throws(() => node.safeToStop(), { code: 'KV_NODE_STOPPED' })
    }
    const again = folders.map(async (_, i) => {
      const node = await start(i)
      assert.notEqual(node.status().health, 'unavailable', 'in its own words')
      assert.deepEqual(await node.getMany(KEYS), KEYS)
    })
    await Promise.all(again)
  })
  it('with another secret are on their own, and both sides are told why', async () => {
    const ports = await Promise.all([freePort(), freePort(), freePort()])
    const bootstrap = ports.map(port => `/ip4/127.0.0.1/tcp/${port}`)
    const folders = ports.map(() => lab.folder())
    const start = (i: number, secret: string): Promise<Node> =>
      lab.start({ bootstrap, listen: [bootstrap[i]!], storage: new ClassicLevel(folders[i]!), secret })
    const nodes = await Promise.all(folders.map((_, i) => start(i, 'the right secret')))
    await nodes[0]!.settled()
    await nodes[2]!.stop()
    const told = new Set<number>()
    const listen = (i: number): void =>
      nodes[i]!.addEventListener('link:refused', ({ detail: { error } }) => {
        if (/another secret/u.test(error.message)) told.add(i)
      })
    listen(0)
    nodes[2] = await start(2, 'the wrong secret')
    listen(2)
    assert.equal(nodes[2].status().health, 'unavailable')
    const deadlineMs = Date.now() + 10_000
    while (told.size < 2 && Date.now() < deadlineMs) await pause(50)
    assert.deepEqual(told, new Set([0, 2]))
    assert.equal(await nodes[0]!.get('a'), undefined, 'the others serve')
  })
})
