import assert from 'node:assert/strict'
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
})
