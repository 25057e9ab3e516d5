// Three processes that find each other by a bootstrap list. Run without arguments it starts the other two itself;
// in real life each process gets the same list, e.g. from an environment variable.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createNode } from 'kilovolt'

const bootstrap = process.env['BOOTSTRAP']?.split(',')
const node = await createNode(bootstrap === undefined ? {} : { bootstrap })

if (bootstrap === undefined) {
  const children = ['one', 'two'].map(name =>
    fork(fileURLToPath(import.meta.url), [name], { env: { ...process.env, BOOTSTRAP: node.addresses.join(',') } })
  )
  const told = children.map(child => once(child, 'message') as Promise<[string]>)
  for (const [key] of await Promise.all(told)) {
    console.log(`${key} says`, await node.get(key))
  }
  console.log('members', node.members().filter(({ status }) => status === 'alive').length)
  for (const child of children) child.send?.('stop')
  await Promise.all(children.map(child => once(child, 'exit')))
  await node.stop()
} else {
  await node.settled()
  const key = `process ${process.argv[2] ?? ''}`
  await node.put(key, 'hello')
  process.send?.(key)
  await once(process, 'message')
  await node.stop()
  process.disconnect?.()
}
