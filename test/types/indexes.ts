// Types of indexes: never run, checked by `npm run typecheck`. What must not compile says so.
import type { IndexMatch, Node } from 'kilovolt'
import * as z from 'zod'

interface User {
  readonly email: string
  readonly tags: readonly string[]
}

export async function names(node: Node): Promise<void> {
  const users = node.keyspace('users', {
    indexes: { byEmail: (user: User) => user.email, byTag: { of: (user: User) => user.tags, version: 2 } }
  })
  const [first] = await users.query('byEmail', { equals: 'ada@example.com' }).all()
  const match: IndexMatch<User> | undefined = first
  const email: string | undefined = match?.value.email
  await users.put('a', { email: email ?? '', tags: [] })
  users.query('byTag', { prefix: 'a' })
  // @ts-expect-error there is no such index
  users.query('byName')
  // @ts-expect-error nor such an option
  users.query('byEmail', { equal: 5 })
  // @ts-expect-error this cannot be indexed
  users.query('byEmail', { equals: {} })
}

export function schemas(node: Node): void {
  const users = node.keyspace('users', {
    schema: z.object({ email: z.string(), born: z.date() }),
    valueEncoding: 'structured',
    indexes: { byBirth: user => user.born }
  })
  users.query('byBirth', { gte: new Date(0) })
  // @ts-expect-error there is no such index
  users.query('byEmail')
}

export function given(node: Node): void {
  // Where the type of the values is given, TypeScript infers no names; they are checked when it runs.
  const some = node.keyspace<User>('users', { indexes: { byEmail: user => user.email } })
  some.query('byEmail')
  const named = node.keyspace<User, string, 'byEmail'>('users', { indexes: { byEmail: user => user.email } })
  named.query('byEmail')
  // @ts-expect-error there is no such index
  named.query('byName')
  // @ts-expect-error a function that is no index
  node.keyspace<User>('users', { indexes: { byEmail: user => user } })
  // @ts-expect-error a definition without a version is the function alone
  node.keyspace<User>('users', { indexes: { byEmail: { of: user => user.email } } })
}
