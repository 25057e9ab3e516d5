import assert from 'node:assert/strict'
import { ClassicLevel } from 'classic-level'
import type { Node } from 'kilovolt'
import { NodeLab, quiet } from '../support/node-lab.ts'
import { ProcessNode, until } from '../support/process-node.ts'

const lab = new NodeLab()
const processes: ProcessNode[] = []

/** How many are members, as a node knows it. */
function upIn(node: Node): number {
  return node.members().filter(({ membership }) => membership === 'up').length
}

afterEach(async () => {
  await lab.clear()
  await Promise.all(processes.splice(0).map(node => node.kill()))
})

describe('clusters that were founded apart', function () {
  this.timeout(60_000)

  it('become one when somebody knows both, with everything that was acknowledged in either', async () => {
    const large = [await lab.start()]
    for (let i = 0; i < 2; i++) large.push(await lab.start({ bootstrap: [large[0]!.addresses[0]!] }))
    const path = lab.folder()
    const warnings: string[] = []
    const logger = { ...quiet, warn: (message: string) => void warnings.push(message) }
    const small = await lab.start({ storage: new ClassicLevel(path), logger })
    for (let i = 0; i < 300; i++) {
      await large[i % 3]!.put(`large${i}`, i)
      await small.put(`small${i}`, i)
    }
    await large[0]!.put('both', 'older')
    await small.put('gone', 'x')
    await small.delete('gone')
    await small.put('both', 'newer')

    const changes: unknown[] = []
    small.addEventListener('cluster:changed', ({ detail }) => changes.push(detail))
    const between = await lab.start({ bootstrap: [large[0]!.addresses[0]!, small.addresses[0]!] })
    const all = [...large, small, between]
    await until('one cluster of five', 30_000, () => all.every(node => upIn(node) === 5))
    await Promise.all(all.map(node => node.settled()))

    assert.equal(changes.length, 1)
    assert.ok(warnings.some(message => message.includes('another cluster of the same name')))
    for (const node of [large[1]!, small, between]) {
      for (let i = 0; i < 300; i++) {
        assert.equal(await node.get(`large${i}`), i)
        assert.equal(await node.get(`small${i}`), i)
      }
      assert.equal(await node.get('both'), 'newer')
      assert.equal(await node.get('gone'), undefined)
    }
    await small.put('after', 1)
    assert.equal(await large[2]!.get('after'), 1)
  })

  it('goes on with its way to the other when it was killed on it', async () => {
    const large = await lab.start()
    const second = await lab.start({ bootstrap: [large.addresses[0]!] })
    const path = lab.folder()
    const records = 5000
    // It lists nobody, so it founds alone; whoever is started later knows both.
    const small = await ProcessNode.start({ folder: path })
    processes.push(small)
    for (let i = 0; i < records; i += 100)
      await Promise.all(Array.from({ length: 100 }, (_, k) => small.call('put', `small${i + k}`, i + k)))
    const between = await lab.start({ bootstrap: [large.addresses[0]!, small.addresses[0]!] })
    await until('somebody is expected', 20_000, () =>
      large.members().some(({ membership }) => membership === 'arriving')
    )
    await small.kill()
    const again = await ProcessNode.start({ folder: path, bootstrap: [large.addresses[0]!] })
    processes.push(again)
    const others = [large, second, between]
    await until('one cluster of four', 40_000, () => others.every(node => upIn(node) === 4))
    await Promise.all([...others.map(node => node.settled()), again.settled()])
    let missing = 0
    for (let i = 0; i < records; i++) if ((await second.get(`small${i}`)) !== i) missing++
    assert.equal(missing, 0)
  })
})

describe('a cluster that has lost its log', function () {
  this.timeout(60_000)

  it('is founded again by those who are left, with what they hold', async () => {
    const first = await ProcessNode.start({})
    processes.push(first)
    const second = await lab.start({ bootstrap: [first.addresses[0]!] })
    await second.settled()
    for (let i = 0; i < 200; i++) await second.put(`k${i}`, i)
    const changed = new Promise<unknown>(resolve =>
      second.addEventListener('cluster:changed', ({ detail }) => resolve(detail), { once: true })
    )
    // Of two members one votes: the first. Nobody can agree on anything without it.
    await first.kill()
    await changed
    await until('a leader', 10_000, () => second.status().leader !== undefined)
    const third = await lab.start({ bootstrap: [second.addresses[0]!] })
    await third.settled()
    for (let i = 0; i < 200; i++) assert.equal(await third.get(`k${i}`), i)
    await third.put('new', 1)
    assert.equal(await second.get('new'), 1)
  })
})
