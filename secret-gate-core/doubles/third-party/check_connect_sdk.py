"""Checks the Connect double with 1Password's own Python SDK. Expects the double's demo items."""

from onepasswordconnectsdk.client import new_client
from onepasswordconnectsdk.errors import (
    FailedToRetrieveItemException,
    FailedToRetrieveVaultException,
)
from onepasswordconnectsdk.models import Field, Item, ItemVault

from doubles_control import arguments, control, expect


def refused(kind, call, *parameters):
    """The text of the exception that the SDK raises, or None when it raises none."""
    try:
        call(*parameters)
    except kind as error:
        return str(error)
    return None


def main():
    given = arguments(__doc__)
    client = new_client(given.url, given.token)

    names = sorted(vault.name for vault in client.get_vaults())
    expect(names, ["Accounts", "Servers"], "names of the vaults")
    vault = client.get_vault_by_title("Servers")
    expect(client.get_vault(vault.id).name, "Servers", "vault by id")
    expect(vault.items, 2, "number of items in the vault")

    summaries = client.get_items(vault.id)
    titles = sorted(summary.title for summary in summaries)
    expect(titles, ["Deploy host", "Postgres production"], "titles of the items")
    filtered = client.get_items(vault.id, 'title eq "Deploy host"')
    expect([summary.title for summary in filtered], ["Deploy host"], "filtered titles")

    item = client.get_item("Postgres production", "Servers")
    values = {field.id: field.value for field in item.fields}
    expect(values["password"], "demo-correct-horse", "value of a field")
    expect(client.get_item_by_id(item.id, vault.id).title, item.title, "item by id")

    made = client.create_item(
        vault.id,
        Item(
            title="Made by the SDK",
            category="PASSWORD",
            vault=ItemVault(id=vault.id),
            fields=[Field(label="word", type="CONCEALED", value="one")],
        ),
    )
    expect(made.version, 1, "version of a new item")
    made.fields[0].value = "two"
    expect(client.update_item(made.id, vault.id, made).version, 2, "version after an update")
    expect(client.get_item(made.id, vault.id).fields[0].value, "two", "value after an update")
    client.delete_item(made.id, vault.id)

    gone = refused(FailedToRetrieveItemException, client.get_item_by_id, made.id, vault.id)
    expect("404" in (gone or ""), True, "404 for a deleted item")
    stranger = new_client(given.url, "wrong-token")
    denied = refused(FailedToRetrieveVaultException, stranger.get_vaults)
    expect("401" in (denied or ""), True, "401 for a wrong token")

    control(given.url, "fault", {"fault": {"status": 403}, "vault": vault.id, "times": {"next": 1}})
    forbidden = refused(FailedToRetrieveItemException, client.get_items, vault.id)
    expect("403" in (forbidden or ""), True, "403 for a vault out of scope")
    expect(len(client.get_items(vault.id)), 2, "the fault ends")
    print("connect double: onepasswordconnectsdk agrees")


main()
