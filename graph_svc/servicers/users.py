"""feed.graph.v1.UserService, translated."""

from dataclasses import replace

from feed.graph.v1 import user_service_pb2, user_service_pb2_grpc

from graph_svc.accounts import UserService
from graph_svc.domain import Profile
from graph_svc.servicers.messages import Context, user_message
from meshkit.errors import PermissionDeniedError
from meshkit.rpc.convert import masked_fields, request_id
from meshkit.rpc.edge import caller

CREATE_SCOPE = "users.create"
_EDITABLE = ("display_name", "bio", "private")


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """feed.graph.v1.UserService."""

    def __init__(self, users: UserService, *, open_signup: bool) -> None:
        self._users = users
        self._open_signup = open_signup

    async def CreateUser(
        self, request: user_service_pb2.CreateUserRequest, context: Context
    ) -> user_service_pb2.CreateUserResponse:
        who = caller()
        if not (self._open_signup or who.service or CREATE_SCOPE in who.scopes):
            raise PermissionDeniedError(f"making accounts needs a token with the scope {CREATE_SCOPE}", reason="SIGN_UP_RESTRICTED")
        profile = Profile(request.username, request.display_name, request.bio)
        retry = request_id(f"sign-up/{who.user_id}", request, request.request_id)
        return user_service_pb2.CreateUserResponse(user=user_message(await self._users.create(profile, retry)))

    async def GetUser(self, request: user_service_pb2.GetUserRequest, context: Context) -> user_service_pb2.GetUserResponse:
        return user_service_pb2.GetUserResponse(user=user_message(await self._users.get(request.user_id)))

    async def LookupUser(
        self, request: user_service_pb2.LookupUserRequest, context: Context
    ) -> user_service_pb2.LookupUserResponse:
        return user_service_pb2.LookupUserResponse(user=user_message(await self._users.find(request.username)))

    async def UpdateUser(
        self, request: user_service_pb2.UpdateUserRequest, context: Context
    ) -> user_service_pb2.UpdateUserResponse:
        user_id = caller().acts_as(request.user.user_id, "user.user_id")
        fields = masked_fields(request.update_mask, request.user, _EDITABLE)
        changes = {field: getattr(request.user, field) for field in fields}
        retry = request_id(str(user_id), request, request.request_id)
        user = await self._users.update(user_id, lambda old: replace(old, **changes), retry)
        return user_service_pb2.UpdateUserResponse(user=user_message(user))
